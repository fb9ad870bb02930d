r"""Split the fused query-key-value projection into three tensors of heads.

Forward    q_{n, head, t, d} = qkv_{n, t, (0, head, d)}      k: (1, head, d)      v: (2, head, d)
Backward   dqkv puts dq, dk and dv back in place
Derivation A permutation: each output is a copy of one input and each input is copied once, so the
           transpose is the inverse.
Shapes     qkv, dqkv: (N, T, 3 heads d)   q, k, v and their cotangents: (N, heads, T, d)
Raises     ValueError when the last axis is not a multiple of 3 heads.
           dtype in = dtype out.
Numerics   Exact: no arithmetic.
Invariants sum q^2 + sum k^2 + sum v^2 = sum qkv^2;  backward(forward(qkv)) = qkv.
Keeps      Nothing.
Mistakes   Rows of the weight read per head ([q k v] of head 0, then head 1, ...) instead of as the
           blocks [Q | K | V]; a reshape without the permutation, which mixes tokens and heads
           without a shape error when heads = tokens.
Source     timm/models/vision_transformer.py (Attention.forward): blocks [Q | K | V], each
           head-major.

>>> import numpy as np
>>> qkv = np.arange(6.0).reshape(1, 1, 6)            # one token, heads = 2, d = 1
>>> (q, k, v), saved = forward(qkv, heads=2)
>>> q[0, :, 0, 0], k[0, :, 0, 0], v[0, :, 0, 0]
(array([0., 1.]), array([2., 3.]), array([4., 5.]))
>>> backward((q, k, v), saved).qkv
array([[[0., 1., 2., 3., 4., 5.]]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()
OUTPUTS = ("q", "k", "v")


class Grads(NamedTuple):
    qkv: Array


def forward(qkv: Array, *, heads: int, xp: Namespace = NUMPY) -> tuple[tuple[Array, Array, Array], None]:
    n, t, width = qkv.shape
    if width % (3 * heads):
        raise ValueError(f"qkv has shape {qkv.shape}, expected a last axis that is a multiple of 3 * {heads}")
    x = xp.reshape(qkv, (n, t, 3, heads, width // (3 * heads)))
    x = xp.permute_dims(x, (2, 0, 3, 1, 4))
    return (x[0, ...], x[1, ...], x[2, ...]), None


def backward(dy: tuple[Array, Array, Array], saved: None, *, xp: Namespace = NUMPY) -> Grads:
    n, heads, t, d = dy[0].shape
    x = xp.stack([xp.permute_dims(d_part, (0, 2, 1, 3)) for d_part in dy], axis=2)
    return Grads(xp.reshape(x, (n, t, 3 * heads * d)))
