r"""Position embedding for another grid than the table's: resized row by row and column by column.

Forward    P' = A P B^T for every channel              y = x + [prefix rows; P']
           A: (R', R), B: (S', S), the resampling matrices of the rows and the columns
Backward   dx = dy                                     dP = A^T dP' B, dP' = sum_n dy
Derivation P'_{ij} = sum_{kl} A_ik P_kl B_jl is linear in P with factor A_ik B_jl, so
           dP_kl = sum_{ij} A_ik dP'_{ij} B_jl.  Prefix rows (the class token's) pass unchanged.
Shapes     x, y, dy, dx: (N, prefix + R' S', D)   table, dtable: (1, prefix + R S, D)
Raises     ValueError when table has not prefix + R S rows, or x not prefix + R' S'.
           dtype in = dtype out (A and B are given in it).
Numerics   A and B are made in float64.  Two products of length R and S per entry.
Invariants Rows of A and B sum to 1, so a constant table stays constant; identity matrices give
           `position_embedding`.
Keeps      A and B.
Mistakes   The prefix rows resized with the rest; rows and columns swapped; the resize skipped when
           the NUMBER of positions is the same (2 x 8 to 4 x 4); another recipe (official sources
           disagree on kernel, antialiasing and alignment).
Source     timm/layers/pos_embed.py; transformers/models/vit (interpolate_pos_encoding);
           vit_jax/checkpoint.py (interpolate_posembed).  The recipes: `vitref.resampling`.

>>> import numpy as np
>>> table = np.array([[[9.0], [0.0], [4.0]]])               # one class token row, a grid of 1 x 2
>>> half = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])   # 2 columns to 3
>>> x = np.zeros((1, 4, 1))
>>> y, saved = forward(x, table, rows=np.array([[1.0]]), columns=half, prefix=1)
>>> y[0, :, 0]
array([9., 0., 2., 4.])
>>> backward(np.array([[[1.0], [2.0], [4.0], [6.0]]]), saved).table[0, :, 0]     # 2 + 4/2, 4/2 + 6
array([1., 4., 8.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape
from vitref.components import position_embedding

PARAMS = ("",)


class Saved(NamedTuple):
    rows: Array
    columns: Array
    prefix: int


class Grads(NamedTuple):
    x: Array
    table: Array


def forward(
    x: Array, table: Array, *, rows: Array, columns: Array, prefix: int, xp: Namespace = NUMPY
) -> tuple[Array, Saved]:
    resized = resize(table, rows=rows, columns=columns, prefix=prefix, xp=xp)
    y, _ = position_embedding.forward(x, resized, xp=xp)
    return y, Saved(rows, columns, prefix)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    rows, columns, prefix = saved
    dx, dresized = position_embedding.backward(dy, None, xp=xp)
    transposed = xp.matrix_transpose(rows), xp.matrix_transpose(columns)
    return Grads(dx, resize(dresized, rows=transposed[0], columns=transposed[1], prefix=prefix, xp=xp))


def resize(table: Array, *, rows: Array, columns: Array, prefix: int, xp: Namespace = NUMPY) -> Array:
    """[prefix rows; A P B^T]: (1, prefix + R S, D) to (1, prefix + R' S', D)."""
    (new_rows, old_rows), (new_columns, old_columns), d = rows.shape, columns.shape, table.shape[-1]
    require_shape("table", table, (1, prefix + old_rows * old_columns, d))
    p = xp.reshape(table[:, prefix:, :], (old_rows, old_columns * d))
    p = xp.reshape(xp.matmul(rows, p), (new_rows, old_columns, d))
    p = xp.reshape(xp.matmul(columns, p), (1, new_rows * new_columns, d))
    return xp.concat([table[:, :prefix, :], p], axis=1)
