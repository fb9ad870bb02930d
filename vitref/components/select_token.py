r"""Select one token of the sequence: pooling by the class token.

Forward    y = x_index
Backward   dx_index = dy, every other row 0
Derivation y is a copy of one row; no other row reaches it.
Shapes     x, dx: (N, T, D)   y, dy: (N, D)   index: a position in 0 .. T - 1
Raises     ValueError when x is not (N, T, D) or index is not in 0 .. T - 1.
           dtype in = dtype out.
Numerics   Exact: no arithmetic.
Invariants y does not depend on any other row.
Keeps      Only index and T.
Mistakes   The last row, or the first patch, for the class token; the selection before the final
           norm where the model selects after it.
Source     Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 4 (z_L^0).

>>> import numpy as np
>>> y, saved = forward(np.array([[[1.0], [2.0], [3.0]]]), index=1)
>>> y
array([[2.]])
>>> backward(np.array([[5.0]]), saved).x[0, :, 0]
array([0., 5., 0.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()


class Saved(NamedTuple):
    tokens: int
    position: int


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, index: int, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if x.ndim != 3 or not 0 <= index < x.shape[1]:
        raise ValueError(f"x has shape {x.shape}, expected (N, T, D) with T above index {index}")
    return x[:, index, :], Saved(x.shape[1], index)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    n, d = dy.shape
    before = xp.zeros((n, saved.position, d), dtype=dy.dtype)
    after = xp.zeros((n, saved.tokens - saved.position - 1, d), dtype=dy.dtype)
    return Grads(xp.concat([before, xp.reshape(dy, (n, 1, d)), after], axis=1))
