r"""Attention scores: scaled products of every query with every key.

Forward    s = scale q k^T                             scale = d^(-1/2), d the width of one head
Backward   dq = scale ds k                             dk = scale ds^T q
Derivation s_ij = scale sum_c q_ic k_jc.  q_ic reaches s_ij for every j with factor scale k_jc, so
           dq_ic = scale sum_j ds_ij k_jc; k_jc reaches s_ij for every i: dk_jc = scale sum_i ds_ij q_ic.
Shapes     q, dq: (..., Q, d)   k, dk: (..., K, d)   s, ds: (..., Q, K)
Raises     ValueError when q and k differ in anything but their number of rows, or ds is not as s.
           dtype in = dtype out.
Numerics   The scale is put on q (T d products) rather than on s (T^2).
Invariants s is linear in q and in k;  sum q dq = sum s ds = sum k dk.
Keeps      q and k.
Mistakes   D^(-1/2) of the whole width, heads^(-1/2) or no scale; the scale forgotten in dq or dk;
           q and k swapped (s transposed).
Source     Vaswani et al. 2017, arXiv:1706.03762, eq. 1.

>>> import numpy as np
>>> q, k = np.array([[2.0, 0.0, 0.0, 0.0]]), np.array([[3.0, 1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0]])
>>> s, saved = forward(q, k)                        # scale = 4^(-1/2) = 1/2
>>> s
array([[3., 5.]])
>>> backward(np.array([[1.0, 10.0]]), saved).q      # 1/2 (1 * k_0 + 10 * k_1)
array([[26.5,  0.5,  0.5,  0.5]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    q: Array
    k: Array


class Grads(NamedTuple):
    q: Array
    k: Array


def forward(q: Array, k: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    require_shape("k", k, (*q.shape[:-2], k.shape[-2], q.shape[-1]))
    return xp.matmul(q * scale(q), xp.matrix_transpose(k)), Saved(q, k)


def backward(ds: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    q, k = saved
    require_shape("ds", ds, (*q.shape[:-1], k.shape[-2]))
    dq = xp.matmul(ds, k) * scale(q)
    dk = xp.matmul(xp.matrix_transpose(ds), q * scale(q))
    return Grads(dq, dk)


def scale(q: Array) -> float:
    """d^(-1/2) for heads of width d."""
    width: int = q.shape[-1]
    return float(width**-0.5)
