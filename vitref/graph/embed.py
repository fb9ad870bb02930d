"""From pixels to the sequence that enters the first block.

    image  ->  patches  ->  projection  ->  class token in front  ->  positions added

A position table without a row for the class token is added before the token is put in front. One for
another grid is resized on the way, so that its gradient is that of the stored table. Shapes: image
(N, C, H, W); patches (N, R S, C h w); the result (N, T, D). Source: arXiv:2010.11929, eq. 1;
timm/models/vision_transformer.py (_pos_embed).
"""

from vitref import resampling
from vitref.array import Array
from vitref.components import (
    class_token,
    dropout,
    identity,
    patch_projection,
    position_embedding,
    resized_position_embedding,
    unfold,
)
from vitref.config import Config
from vitref.run import Trace


def forward(t: Trace, image: Array, *, config: Config, rate: float) -> Array:
    x = t.step("patch_embed.unfold", unfold, image, patch_size=config.patch_size)
    x = t.step("patch_embed.proj", patch_projection, x)
    if config.class_token and config.class_position:
        x = t.step("cls_token", class_token, x)
    if config.grid == config.position_grid:
        x = t.step("pos_embed", position_embedding, x)
    else:
        (old_rows, old_columns), (new_rows, new_columns) = config.position_grid, config.grid
        rows = t.constant(resampling.matrix, old_rows, new_rows, config.position_resize)
        columns = t.constant(resampling.matrix, old_columns, new_columns, config.position_resize)
        tables = {"rows": rows, "columns": columns, "prefix": config.position_prefix}
        x = t.step("pos_embed", resized_position_embedding, x, **tables)
    if config.class_token and not config.class_position:
        x = t.step("cls_token", class_token, x)
    if rate:
        x = t.step("pos_drop", dropout, x, mask=t.mask("pos_drop", x.shape, rate), rate=rate)
    return t.step("embed", identity, x)


def backward(t: Trace, dy: Array, *, config: Config, rate: float) -> Array:
    dx = t.undo("embed", dy)
    if rate:
        dx = t.undo("pos_drop", dx)
    if config.class_token and not config.class_position:
        dx = t.undo("cls_token", dx)
    dx = t.undo("pos_embed", dx)
    if config.class_token and config.class_position:
        dx = t.undo("cls_token", dx)
    dx = t.undo("patch_embed.proj", dx)
    return t.undo("patch_embed.unfold", dx)
