r"""Context: the values averaged with the attention weights.

Forward    y = p v                                     y_i = sum_j p_ij v_j
Backward   dp = dy v^T                                 dv = p^T dy
Derivation y_ic = sum_j p_ij v_jc.  p_ij reaches y_ic for every c with factor v_jc; v_jc reaches
           y_ic for every i with factor p_ij.
Shapes     p, dp: (..., Q, K)   v, dv: (..., K, d)   y, dy: (..., Q, d)
Raises     ValueError when p has not one column per row of v, the leading axes differ, or dy is not as y.
           dtype in = dtype out.
Numerics   With softmax weights every y_i is a convex combination of the rows of v.
Invariants y is linear in p and in v;  sum p dp = sum y dy = sum v dv.
Keeps      p and v.
Mistakes   p transposed: for equal lengths no shape error.
Source     Vaswani et al. 2017, arXiv:1706.03762, eq. 1.

>>> import numpy as np
>>> p, v = np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]])
>>> y, saved = forward(p, v)
>>> y
array([[7.]])
>>> backward(np.array([[2.0]]), saved)
Grads(p=array([[ 8., 16.]]), v=array([[0.5],
       [1.5]]))
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    p: Array
    v: Array


class Grads(NamedTuple):
    p: Array
    v: Array


def forward(p: Array, v: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    require_shape("v", v, (*p.shape[:-2], p.shape[-1], v.shape[-1]))
    return xp.matmul(p, v), Saved(p, v)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    p, v = saved
    require_shape("dy", dy, (*p.shape[:-1], v.shape[-1]))
    dp = xp.matmul(dy, xp.matrix_transpose(v))
    dv = xp.matmul(xp.matrix_transpose(p), dy)
    return Grads(dp, dv)
