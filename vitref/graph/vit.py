"""The Vision Transformer, from the preprocessed image to its final output.

    image  ->  embed  ->  blocks.0 ... blocks.(depth - 1)  ->  head

`train` is None in evaluation. Shapes: image (N, C, H, W); embed, every block and tokens (N, T, D); the
result (N, classes), or (N, D) without classifier. Source: Dosovitskiy et al. 2020, arXiv:2010.11929,
eq. 1 to 4.
"""

from typing import Any, NamedTuple

from vitref.array import Array
from vitref.components import identity
from vitref.config import Config
from vitref.graph import block, embed, head
from vitref.masks import Train
from vitref.run import Part, Trace


class Link(NamedTuple):
    """One step of the chain: its name, what it is, its static arguments."""

    name: str
    part: Part
    static: dict[str, Any]


def forward(t: Trace, image: Array, *, config: Config, train: Train | None = None) -> Array:
    x = image
    for name, part, static in chain(config, train):
        x = t.step(name, part, x, **static)
    return x


def backward(t: Trace, dy: Array, *, config: Config, train: Train | None = None) -> Array:
    dx = dy
    for name, _, _ in reversed(chain(config, train)):
        dx = t.undo(name, dx)
    return dx


def chain(config: Config, train: Train | None) -> list[Link]:
    """The whole model: each link takes what the one before it returns, and nothing else."""
    rate = train.dropout if train else 0.0
    return [
        Link("image", identity, {}),
        Link("", embed, {"config": config, "rate": rate}),
        *(Link(f"blocks.{i}", block, block_options(i, config, train)) for i in range(config.depth)),
        Link("", head, {"config": config, "rate": rate}),
    ]


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
