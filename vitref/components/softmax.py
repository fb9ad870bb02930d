r"""Softmax over the last axis.

Forward    y_j = exp(x_j - m) / sum_k exp(x_k - m)     m = max_k x_k
Backward   dx_j = y_j (dy_j - sum_k y_k dy_k)
Derivation d y_k / d x_j = y_k (delta_jk - y_j), so dx_j = sum_k dy_k y_k (delta_jk - y_j).
           m cancels in the quotient, whatever its value: it has no gradient.
Shapes     x, y, dy, dx: (..., K)
Raises     ValueError when x has no axis or its last axis is empty, or dy is not as y.
           dtype in = dtype out.
Numerics   The largest exponent is 0, so nothing overflows; terms below the smallest number are 0.
Invariants y >= 0;  sum_k y = 1;  sum_k dx = 0;  adding a constant to a row changes nothing.
Keeps      y.
Mistakes   The wrong axis (queries instead of keys): for equal lengths no shape error; the sum term
           of dx left out, which an all-ones dy does not show.
Source     Vaswani et al. 2017, arXiv:1706.03762, eq. 1.

>>> import math, numpy as np
>>> y, saved = forward(np.array([math.log(1.0), math.log(3.0)]))
>>> y.round(12)
array([0.25, 0.75])
>>> backward(np.array([4.0, 0.0]), saved).x.round(12)      # sum_k y dy = 1: 1/4 (4 - 1), 3/4 (0 - 1)
array([ 0.75, -0.75])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    y: Array


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x has shape {x.shape}, expected (..., K) with K of at least 1")
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    y = e / xp.sum(e, axis=-1, keepdims=True)
    return y, Saved(y)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    y = saved.y
    require_shape("dy", dy, tuple(y.shape))
    return Grads(y * (dy - xp.sum(y * dy, axis=-1, keepdims=True)))
