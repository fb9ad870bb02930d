"""The Vision Transformer, from the preprocessed image to its final output.

    image  ->  embed  ->  blocks.0 ... blocks.(depth - 1)  ->  norm  ->  head

`train` is None in evaluation. Shapes: image (N, C, H, W); embed, every block and tokens (N, T, D); the
result (N, classes), or (N, D) without classifier. Source: Dosovitskiy et al. 2020, arXiv:2010.11929,
eq. 1 to 4.
"""

from typing import Any

from vitref.array import Array
from vitref.components import identity, layer_norm
from vitref.config import Config
from vitref.graph import block, embed, head
from vitref.masks import Train
from vitref.run import Trace


def forward(t: Trace, image: Array, *, config: Config, train: Train | None = None) -> Array:
    rate = train.dropout if train else 0.0
    x = t.step("image", identity, image)
    x = t.step("", embed, x, config=config, rate=rate)
    for i in range(config.depth):
        x = t.step(f"blocks.{i}", block, x, **block_options(i, config, train))
    if config.final_norm == "tokens":
        x = t.step("norm", layer_norm, x, eps=config.eps)
    x = t.step("tokens", identity, x)
    return t.step("", head, x, config=config, rate=rate)


def backward(t: Trace, dy: Array, *, config: Config, train: Train | None = None) -> Array:
    dx = t.undo("", dy)
    dx = t.undo("tokens", dx)
    if config.final_norm == "tokens":
        dx = t.undo("norm", dx)
    for i in reversed(range(config.depth)):
        dx = t.undo(f"blocks.{i}", dx)
    dx = t.undo("", dx)
    return t.undo("image", dx)


def block_options(i: int, config: Config, train: Train | None) -> dict[str, Any]:
    """The static arguments of block i."""
    return {
        "heads": config.heads,
        "eps": config.eps,
        "activation": config.activation,
        "qkv_bias": config.qkv_bias,
        "scaled": config.layer_scale,
        "rate": train.dropout if train else 0.0,
        "attention_rate": train.attention_dropout if train else 0.0,
        "path_rate": train.drop_path_of(i, config.depth) if train else 0.0,
    }
