"""From the last block to the model's final output: last LayerNorm, pooling and classifier.

    x  ->  norm  ->  tokens  ->  pool  ->  fc_norm, pre_logits where the model has them  ->  head  ->  logits

Shapes: x and tokens (N, T, D); pooled and head_input (N, D), or (N, pre_logits); logits (N, classes). A
model without classifier (`classes` = 0) ends with head_input. Source: arXiv:2010.11929, eq. 4;
timm/models/vision_transformer.py (forward_features, forward_head).
"""

from vitref.array import Array
from vitref.components import dropout, identity, layer_norm, linear, mean_pool, select_token
from vitref.config import Config
from vitref.graph import pre_logits
from vitref.run import Trace


def forward(t: Trace, x: Array, *, config: Config, rate: float) -> Array:
    if config.final_norm == "tokens":
        x = t.step("norm", layer_norm, x, eps=config.eps)
    tokens = t.step("tokens", identity, x)
    if config.pool == "token":
        x = t.step("pool", select_token, tokens, index=0)
    else:
        start = 1 if config.class_token and config.pool == "mean" else 0
        x = t.step("pool", mean_pool, tokens, start=start)
    if config.final_norm == "pooled":
        x = t.step("fc_norm", layer_norm, x, eps=config.eps)
    if config.pre_logits:
        x = t.step("pre_logits", pre_logits, x)
    x = t.step("pooled", identity, x)
    if rate:
        x = t.step("head_drop", dropout, x, mask=t.mask("head_drop", x.shape, rate), rate=rate)
    x = t.step("head_input", identity, x)
    if config.classes:
        x = t.step("head", linear, x)
        x = t.step("logits", identity, x)
    return x


def backward(t: Trace, dy: Array, *, config: Config, rate: float) -> Array:
    dx = dy
    if config.classes:
        dx = t.undo("logits", dx)
        dx = t.undo("head", dx)
    dx = t.undo("head_input", dx)
    if rate:
        dx = t.undo("head_drop", dx)
    dx = t.undo("pooled", dx)
    if config.pre_logits:
        dx = t.undo("pre_logits", dx)
    if config.final_norm == "pooled":
        dx = t.undo("fc_norm", dx)
    dx = t.undo("pool", dx)
    dx = t.undo("tokens", dx)
    if config.final_norm == "tokens":
        dx = t.undo("norm", dx)
    return dx
