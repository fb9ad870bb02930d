"""From the normalised tokens to the model's final output: pooling and classifier.

    tokens  ->  pool (the class token)  ->  head  ->  logits

Shapes: tokens (N, T, D); pooled and head_input (N, D); logits (N, classes). A model without
classifier (`classes` = 0) ends with head_input. Source: arXiv:2010.11929, eq. 4; timm's forward_head.
"""

from vitref.array import Array
from vitref.components import identity, linear, select_token
from vitref.run import Trace


def forward(t: Trace, tokens: Array, *, classes: int) -> Array:
    x = t.step("pool", select_token, tokens, index=0)
    x = t.step("pooled", identity, x)
    x = t.step("head_input", identity, x)
    if classes:
        x = t.step("head", linear, x)
        x = t.step("logits", identity, x)
    return x


def backward(t: Trace, dy: Array, *, classes: int) -> Array:
    dx = dy
    if classes:
        dx = t.undo("logits", dx)
        dx = t.undo("head", dx)
    dx = t.undo("head_input", dx)
    dx = t.undo("pooled", dx)
    return t.undo("pool", dx)
