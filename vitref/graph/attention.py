"""Multi-head self-attention with a fused query-key-value projection.

    x  ->  qkv  ->  q, k, v  ->  attention core  ->  merge  ->  proj

Shapes: x and the result (N, T, D); the heads are `heads` times d wide, D = heads d in most models.
Source: timm/models/vision_transformer.py (Attention); arXiv:2010.11929, appendix A.
"""

from vitref.array import Array
from vitref.components import dropout, linear, merge_heads, split_heads
from vitref.graph import attention_core
from vitref.run import Trace


def forward(t: Trace, x: Array, *, heads: int, qkv_bias: bool, rate: float, attention_rate: float) -> Array:
    qkv = t.step("qkv", linear, x, absent=() if qkv_bias else ("bias",))
    q, k, v = t.step("", split_heads, qkv, heads=heads)
    y = t.step("", attention_core, q, k, v, rate=attention_rate)
    y = t.step("merge", merge_heads, y)
    y = t.step("proj", linear, y)
    if rate:
        y = t.step("proj_drop", dropout, y, mask=t.mask("proj_drop", y.shape, rate), rate=rate)
    return y


def backward(t: Trace, dy: Array, *, heads: int, qkv_bias: bool, rate: float, attention_rate: float) -> Array:
    if rate:
        dy = t.undo("proj_drop", dy)
    dy = t.undo("proj", dy)
    dy = t.undo("merge", dy)
    dq, dk, dv = t.undo("", dy)
    dqkv = t.undo("", (dq, dk, dv))
    return t.undo("qkv", dqkv)
