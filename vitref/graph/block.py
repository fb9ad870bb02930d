"""One pre-norm encoder block: attention and MLP, each behind a LayerNorm and beside a residual.

    x + attn(norm1(x))  ->  x + mlp(norm2(x))

Each branch may end in LayerScale (`ls1`, `ls2`), and in training in DropPath. Shapes: x and the result
(N, T, D). Source: arXiv:2010.11929, eq. 2 and 3; timm/models/vision_transformer.py (Block).
"""

from vitref.array import Array
from vitref.components import add, drop_path, layer_norm, layer_scale
from vitref.graph import attention, mlp
from vitref.run import Trace


def forward(
    t: Trace,
    x: Array,
    *,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    scaled: bool,
    rate: float,
    attention_rate: float,
    path_rate: float,
) -> Array:
    a = t.step("norm1", layer_norm, x, eps=eps)
    a = t.step("attn", attention, a, heads=heads, qkv_bias=qkv_bias, rate=rate, attention_rate=attention_rate)
    if scaled:
        a = t.step("ls1", layer_scale, a)
    if path_rate:
        mask = t.mask("drop_path1", a.shape[:1], path_rate)
        a = t.step("drop_path1", drop_path, a, mask=mask, rate=path_rate)
    x = t.step("add1", add, x, a)
    m = t.step("norm2", layer_norm, x, eps=eps)
    m = t.step("mlp", mlp, m, activation=activation, rate=rate)
    if scaled:
        m = t.step("ls2", layer_scale, m)
    if path_rate:
        mask = t.mask("drop_path2", m.shape[:1], path_rate)
        m = t.step("drop_path2", drop_path, m, mask=mask, rate=path_rate)
    return t.step("add2", add, x, m)


def backward(
    t: Trace,
    dy: Array,
    *,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    scaled: bool,
    rate: float,
    attention_rate: float,
    path_rate: float,
) -> Array:
    dx, dm = t.undo("add2", dy)
    if path_rate:
        dm = t.undo("drop_path2", dm)
    if scaled:
        dm = t.undo("ls2", dm)
    dm = t.undo("mlp", dm)
    dx = t.undo("norm2", dm, add=dx)
    dx, da = t.undo("add1", dx)
    if path_rate:
        da = t.undo("drop_path1", da)
    if scaled:
        da = t.undo("ls1", da)
    da = t.undo("attn", da)
    return t.undo("norm1", da, add=dx)
