r"""Add a learned vector to every position, the same for every image.

Forward    y = x + table
Backward   dx = dy                                     dtable = sum_n dy
Derivation Each table entry is added once per image, with factor 1, so its cotangents add over
           the batch; x passes unchanged.
Shapes     x, y, dy, dx: (N, T, D)   table, dtable: (1, T, D)
Raises     ValueError when table is not (1, T, D): a table for another grid has to be resized first.
           dtype in = dtype out.
Numerics   One rounding per element; dtable is a sum over the batch.
Invariants y - x is the same for every image.
Keeps      Nothing.
Mistakes   The table added before the class token is prepended though it has a row for it; a table
           indexed or cut instead of resized; its rows read column by column.
Source     Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1 (E_pos).

>>> import numpy as np
>>> y, saved = forward(np.zeros((2, 2, 1)), np.array([[[1.0], [2.0]]]))
>>> y[:, :, 0]
array([[1., 2.],
       [1., 2.]])
>>> backward(np.array([[[1.0], [2.0]], [[10.0], [20.0]]]), saved).table[0, :, 0]
array([11., 22.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ("",)


class Grads(NamedTuple):
    x: Array
    table: Array


def forward(x: Array, table: Array, *, xp: Namespace = NUMPY) -> tuple[Array, None]:
    require_shape("table", table, (1, *x.shape[1:]))
    return x + table, None


def backward(dy: Array, saved: None, *, xp: Namespace = NUMPY) -> Grads:
    return Grads(dy, xp.sum(dy, axis=0, keepdims=True))
