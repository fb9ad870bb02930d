r"""DropPath (stochastic depth): the whole branch of an image is kept or dropped.

Forward    y_n = mask_n x_n / (1 - rate)
Backward   dx_n = mask_n dy_n / (1 - rate)
Derivation As `dropout`, with one mask value for everything that belongs to an image.
Shapes     x, y, dy, dx: (N, ...)   mask: (N,), 0 (drop) and 1 (keep)
Raises     ValueError when mask is not (N,) or rate is not in 0 <= rate < 1.
           dtype in = dtype out (mask is given in it).
Numerics   As `dropout`.
Invariants With a mask of ones and rate 0, y = x;  a dropped image has y = 0 and dx = 0.
Keeps      The mask, broadcast, and the scale.
Mistakes   One value for the whole batch, or one per token; the scale forgotten; the residual
           dropped together with the branch.
Source     Huang et al. 2016, arXiv:1603.09382; timm/layers/drop.py (DropPath, scale_by_keep).

>>> import numpy as np
>>> y, saved = forward(np.array([[1.0, 2.0], [3.0, 4.0]]), mask=np.array([0.0, 1.0]), rate=0.5)
>>> y
array([[0., 0.],
       [6., 8.]])
>>> backward(np.array([[1.0, 1.0], [1.0, 2.0]]), saved).x
array([[0., 0.],
       [2., 4.]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape
from vitref.components import dropout

PARAMS = ()


Saved = dropout.Saved


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, mask: Array, rate: float, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    require_shape("mask", mask, (x.shape[0],))
    per_image = xp.reshape(mask, (x.shape[0], *(1,) * (x.ndim - 1)))
    return dropout.forward(x, mask=xp.broadcast_to(per_image, x.shape), rate=rate, xp=xp)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    (dx,) = dropout.backward(dy, saved, xp=xp)
    return Grads(dx)
