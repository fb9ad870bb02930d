"""One pre-norm encoder block: attention and MLP, each behind a LayerNorm and beside a residual.

    x + attn(norm1(x))  ->  x + mlp(norm2(x))

Shapes: x and the result (N, T, D). Source: arXiv:2010.11929, eq. 2 and 3.
"""

from vitref.array import Array
from vitref.components import add, layer_norm
from vitref.graph import attention, mlp
from vitref.run import Trace


def forward(t: Trace, x: Array, *, heads: int, eps: float, activation: str, qkv_bias: bool) -> Array:
    a = t.step("norm1", layer_norm, x, eps=eps)
    a = t.step("attn", attention, a, heads=heads, qkv_bias=qkv_bias)
    x = t.step("add1", add, x, a)
    m = t.step("norm2", layer_norm, x, eps=eps)
    m = t.step("mlp", mlp, m, activation=activation)
    return t.step("add2", add, x, m)


def backward(t: Trace, dy: Array, *, heads: int, eps: float, activation: str, qkv_bias: bool) -> Array:
    dx, dm = t.undo("add2", dy)
    dm = t.undo("mlp", dm)
    dx = t.undo("norm2", dm, add=dx)
    dx, da = t.undo("add1", dx)
    da = t.undo("attn", da)
    return t.undo("norm1", da, add=dx)
