"""Mixup: every example blended with another one, picture and label alike. The draws are an input.

Source: Zhang et al. 2018, arXiv:1710.09412, eq. 1; the share is drawn from Beta(alpha, alpha) there.
"""

import numpy as np
import numpy.typing as npt

from vitref.array import HostArray


def mixed(x: HostArray, partner: npt.NDArray[np.integer], share: HostArray) -> HostArray:
    """share_n x_n + (1 - share_n) x_partner(n), in the dtype of x.

    x        (N, ...): images, or labels as probabilities
    partner  (N,): whom each example is blended with
    share    (N,): from 0 to 1, how much of the example itself remains

    >>> mixed(np.array([[0.0], [8.0]]), np.array([1, 0]), np.array([0.5, 0.75]))
    array([[4.],
           [6.]])
    """
    own = share.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    blend: HostArray = own * x + (1 - own) * x[partner]
    return blend
