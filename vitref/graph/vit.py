"""The Vision Transformer, from the preprocessed image to its final output.

    image  ->  embed  ->  blocks.0 ... blocks.(depth - 1)  ->  norm  ->  head

Shapes: image (N, C, H, W); embed, every block and tokens (N, T, D); the result (N, classes), or
(N, D) without classifier. Source: Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1 to 4.
"""

from vitref.array import Array
from vitref.components import identity, layer_norm
from vitref.graph import block, embed, head
from vitref.run import Trace


def forward(
    t: Trace,
    image: Array,
    *,
    patch_size: tuple[int, int],
    depth: int,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    classes: int,
) -> Array:
    x = t.step("image", identity, image)
    x = t.step("", embed, x, patch_size=patch_size)
    for i in range(depth):
        x = t.step(f"blocks.{i}", block, x, heads=heads, eps=eps, activation=activation, qkv_bias=qkv_bias)
    x = t.step("norm", layer_norm, x, eps=eps)
    x = t.step("tokens", identity, x)
    return t.step("", head, x, classes=classes)


def backward(
    t: Trace,
    dy: Array,
    *,
    patch_size: tuple[int, int],
    depth: int,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    classes: int,
) -> Array:
    dx = t.undo("", dy)
    dx = t.undo("tokens", dx)
    dx = t.undo("norm", dx)
    for i in reversed(range(depth)):
        dx = t.undo(f"blocks.{i}", dx)
    dx = t.undo("", dx)
    return t.undo("image", dx)
