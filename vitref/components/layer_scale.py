r"""LayerScale: a learned factor per channel on the output of a branch.

Forward    y = gamma * x
Backward   dx = gamma * dy                             dgamma = sum_rows dy * x
Derivation y_c = gamma_c x_c in every row: x_c enters with factor gamma_c, gamma_c with factor x_c.
Shapes     x, y, dy, dx: (..., C)   gamma, dgamma: (C,)
Raises     ValueError when gamma is not (C,), or dy not as y.
           dtype in = dtype out.
Numerics   One rounding per element; dgamma is a sum over rows.
Invariants y is linear in x and in gamma;  sum_c gamma dgamma = sum x dx.
Keeps      x and gamma.
Mistakes   gamma dropped by a loader, which for trained values near 1e-5 .. 1 changes everything;
           applied after the residual add instead of before.
Source     Touvron et al. 2021, arXiv:2103.17239, section 2; timm/layers/layer_scale.py.

>>> import numpy as np
>>> y, saved = forward(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 0.5]))
>>> y
array([[10.,  1.],
       [30.,  2.]])
>>> backward(np.array([[1.0, 0.0], [1.0, 2.0]]), saved).gamma      # 1 + 3,  2 * 4
array([4., 8.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ("gamma",)


class Saved(NamedTuple):
    x: Array
    gamma: Array


class Grads(NamedTuple):
    x: Array
    gamma: Array


def forward(x: Array, gamma: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    require_shape("gamma", gamma, (x.shape[-1],))
    return x * gamma, Saved(x, gamma)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    x, gamma = saved
    require_shape("dy", dy, tuple(x.shape))
    return Grads(dy * gamma, xp.sum(dy * x, axis=tuple(range(dy.ndim - 1))))
