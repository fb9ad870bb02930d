r"""Prepend a learned class token to every sequence.

Forward    y = [token; x]                              the same token for every image
Backward   dx = dy without its first row               dtoken = sum_n dy_{n, 0}
Derivation Row 0 of every image is the token itself, so its cotangents add over the batch; the
           other rows are copies of x, moved down by one.
Shapes     x, dx: (N, T, D)   y, dy: (N, 1 + T, D)   token, dtoken: (1, 1, D)
Raises     ValueError when x is not (N, T, D) or token is not (1, 1, D).
           dtype in = dtype out.
Numerics   Forward exact; dtoken is a sum over the batch.
Invariants y[:, 1:] = x;  y[:, 0] does not depend on x.
Keeps      Nothing.
Mistakes   The token appended after the patches while positions assume it first; dtoken of one
           image instead of the sum.
Source     Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1 (x_class).

>>> import numpy as np
>>> y, saved = forward(np.array([[[1.0]], [[2.0]]]), np.array([[[9.0]]]))
>>> y[:, :, 0]
array([[9., 1.],
       [9., 2.]])
>>> backward(np.array([[[3.0], [4.0]], [[5.0], [6.0]]]), saved).token
array([[[8.]]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ("",)


class Grads(NamedTuple):
    x: Array
    token: Array


def forward(x: Array, token: Array, *, xp: Namespace = NUMPY) -> tuple[Array, None]:
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, expected (N, T, D)")
    n, _, d = x.shape
    require_shape("token", token, (1, 1, d))
    return xp.concat([xp.broadcast_to(token, (n, 1, d)), x], axis=1), None


def backward(dy: Array, saved: None, *, xp: Namespace = NUMPY) -> Grads:
    return Grads(dy[:, 1:, :], xp.sum(dy[:, :1, :], axis=0, keepdims=True))
