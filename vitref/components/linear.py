r"""Linear (dense, fully connected) layer on the last axis.

Forward    y = x weight^T + bias                       y_o = sum_i weight_oi x_i + bias_o
Backward   dx = dy weight
           dweight = sum_rows dy^T x                   dbias = sum_rows dy
Derivation y_o depends on x_i with factor weight_oi, so dx_i = sum_o dy_o weight_oi.
           Row n depends on weight_oi with factor x_ni: dweight_oi = sum_n dy_no x_ni.
           bias_o is added to every row: dbias_o = sum_n dy_no.
Shapes     x, dx: (..., I)   y, dy: (..., O)   weight, dweight: (O, I)   bias, dbias: (O,)
Raises     ValueError when weight is not (O, I), bias is not (O,), or dy is not as y.
           dtype in = dtype out.
Numerics   A sum over I (forward), O (dx) or all rows (dweight, dbias): relative to the sum of
           absolute terms the error grows like the square root of its length.
Invariants y is linear in x;  dy weight is the transpose of the forward map.
Keeps      x and weight (both exist anyway).
Mistakes   weight stored (in, out) and not transposed, which raises no error when O = I;
           dbias summed over one leading axis only.
Source     timm and torch store weight as (out, in); Google's .npz as (in, out).
           bias may be None (a layer without bias); its gradient is then None.

>>> import numpy as np
>>> x, weight, bias = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([0.5, 0.0])
>>> y, saved = forward(x, weight, bias)
>>> y                                               # 1*1 + 0*2 + 0.5,  3*1 + 4*2
array([[ 1.5, 11. ]])
>>> grads = backward(np.array([[1.0, 10.0]]), saved)
>>> grads.x                                         # 1*1 + 10*3,  1*0 + 10*4
array([[31., 40.]])
>>> grads.weight
array([[ 1.,  2.],
       [10., 20.]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ("weight", "bias")


class Saved(NamedTuple):
    x: Array
    weight: Array
    bias: Array | None


class Grads(NamedTuple):
    x: Array
    weight: Array
    bias: Array | None


def forward(
    x: Array, weight: Array, bias: Array | None = None, *, xp: Namespace = NUMPY
) -> tuple[Array, Saved]:
    require_shape("weight", weight, (weight.shape[0], x.shape[-1]))
    rows, transposed = _rows(x, xp), xp.matrix_transpose(weight)
    if bias is None:
        y = xp.matmul(rows, transposed)
    else:
        require_shape("bias", bias, (weight.shape[0],))
        y = xp.matmul(rows, transposed) + bias
    return xp.reshape(y, (*x.shape[:-1], weight.shape[0])), Saved(x, weight, bias)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    x, weight, bias = saved
    require_shape("dy", dy, (*x.shape[:-1], weight.shape[0]))
    dy_rows = _rows(dy, xp)
    dx = xp.reshape(xp.matmul(dy_rows, weight), x.shape)
    dweight = xp.matmul(xp.matrix_transpose(dy_rows), _rows(x, xp))
    dbias = None if bias is None else xp.sum(dy_rows, axis=0)
    return Grads(dx, dweight, dbias)


def _rows(x: Array, xp: Namespace) -> Array:
    """All leading axes as one: a single large product is faster than one for each image."""
    return xp.reshape(x, (-1, x.shape[-1]))
