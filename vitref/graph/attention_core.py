"""The attention core: scores, softmax over the keys, and the average of the values.

    q, k, v  ->  scores  ->  softmax  ->  context

Shapes: q, k, v and the result (N, heads, T, d); scores and softmax (N, heads, queries, keys).
In training, `rate` drops attention weights. Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1. A
unit without a name of its own, so that a backend can replace the whole of it by one kernel that never
forms the (T, T) matrices.
"""

from typing import Any

from vitref.array import Array
from vitref.components import context, dropout, scores, softmax
from vitref.run import Trace


def forward(t: Trace, q: Array, k: Array, v: Array, *, rate: float) -> Array:
    s = t.step("scores", scores, q, k)
    p = t.step("softmax", softmax, s)
    if rate:
        p = t.step("attn_drop", dropout, p, mask=t.mask("attn_drop", p.shape, rate), rate=rate)
    return t.step("context", context, p, v)


def backward(t: Trace, dy: Array, *, rate: float) -> tuple[Any, Any, Any]:
    dp, dv = t.undo("context", dy)
    if rate:
        dp = t.undo("attn_drop", dp)
    ds = t.undo("softmax", dp)
    dq, dk = t.undo("scores", ds)
    return dq, dk, dv
