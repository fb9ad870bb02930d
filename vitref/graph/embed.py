"""From pixels to the sequence that enters the first block.

    image  ->  patches  ->  projection  ->  class token in front  ->  positions added

Shapes: image (N, C, H, W); patches (N, R S, C h w); the result (N, 1 + R S, D).
Source: arXiv:2010.11929, eq. 1.
"""

from vitref.array import Array
from vitref.components import class_token, identity, patch_projection, position_embedding, unfold
from vitref.run import Trace


def forward(t: Trace, image: Array, *, patch_size: tuple[int, int]) -> Array:
    x = t.step("patch_embed.unfold", unfold, image, patch_size=patch_size)
    x = t.step("patch_embed.proj", patch_projection, x)
    x = t.step("cls_token", class_token, x)
    x = t.step("pos_embed", position_embedding, x)
    return t.step("embed", identity, x)


def backward(t: Trace, dy: Array, *, patch_size: tuple[int, int]) -> Array:
    dx = t.undo("embed", dy)
    dx = t.undo("pos_embed", dx)
    dx = t.undo("cls_token", dx)
    dx = t.undo("patch_embed.proj", dx)
    return t.undo("patch_embed.unfold", dx)
