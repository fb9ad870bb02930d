"""Mistakes of the class token and of positions: where they stand, and which row is whose."""

import numpy as np

from vitref.array import NUMPY
from vitref.config import Config
from vitref.verify.mistakes import orders
from vitref.verify.mistakes.changes import Loader
from vitref.verify.mistakes.mistake import Mistake, Tensors
from vitref.verify.mistakes.refutations import ZERO_TABLE

GRID = ("osaurus-ai/vmlx-swift#225", "lablup/mlxcel#1610", "weiyx16/CLIP-pytorch#1")
ORDER = ("labmlai/annotated_deep_learning_paper_implementations#221", "huggingface/pytorch-image-models#2014")


def table_by_columns(tensors: Tensors, config: Config) -> Tensors:
    prefix, (rows, columns) = config.position_prefix, config.position_grid
    table = tensors["pos_embed"]
    patches = table[:, prefix:].reshape(1, rows, columns, -1).swapaxes(1, 2).reshape(1, rows * columns, -1)
    return {"pos_embed": np.concat([table[:, :prefix], patches], axis=1)}


def table_in_order(order: orders.Order) -> Loader:
    """The rows of the patches in another order, so that patch i has the position of its place in it."""

    def load(tensors: Tensors, config: Config) -> Tensors:
        prefix, table = config.position_prefix, tensors["pos_embed"]
        patches = orders.taken(table[:, prefix:], orders.inverse(order(*config.position_grid)), NUMPY)
        return {"pos_embed": np.concat([table[:, :prefix], patches], axis=1)}

    return load


def table_moved(by: int) -> Loader:
    """Every row moved by so many places, around the end; where the table has a row for the class token."""
    return lambda tensors, config: (
        {"pos_embed": np.roll(tensors["pos_embed"], by, axis=1)} if config.position_prefix else {}
    )


def no_row_for_token(tensors: Tensors, config: Config) -> Tensors:
    table = tensors["pos_embed"].copy()
    table[:, : config.position_prefix] = 0
    return {"pos_embed": table}


def folded(tensors: Tensors, config: Config) -> Tensors:
    if not config.position_prefix:
        return {}
    row = tensors["pos_embed"][:, :1]
    return {"cls_token": tensors["cls_token"] + row, **no_row_for_token(tensors, config)}


def folded_and_kept(tensors: Tensors, config: Config) -> Tensors:
    if not config.position_prefix:
        return {}
    return {"cls_token": tensors["cls_token"] + tensors["pos_embed"][:, :1]}


MISTAKES = (
    Mistake(
        name="class_token_last",
        what="the class token is put behind the patches, while positions and pooling expect it in front",
        look="the order of the two arguments where class token and patches are joined",
        refute=(
            "Compare token 0 of `cls_token` with the stored class token: if they agree, this is "
            "not the cause."
        ),
        topic="place of the class token",
        evidence=("ggml-org/llama.cpp#25814",),
        shows="cls_token",
        edits={
            "class_token": (
                "xp.concat([xp.broadcast_to(token, (n, 1, d)), x], axis=1) -> "
                "xp.concat([x, xp.broadcast_to(token, (n, 1, d))], axis=1)",
                "dy[:, 1:, :], xp.sum(dy[:, :1, :] -> dy[:, :-1, :], xp.sum(dy[:, -1:, :]",
            )
        },
        needs=("class_token",),
    ),
    Mistake(
        name="positions_one_late",
        what="every token gets the position of the token before it",
        look="a table whose class row stands last, or an index that begins at -1",
        refute=ZERO_TABLE,
        topic="position of the class token",
        evidence=ORDER,
        shows="pos_embed",
        tensors=table_moved(1),
        needs=("class_token", "class_position"),
    ),
    Mistake(
        name="positions_one_early",
        what="every token gets the position of the token after it, and the last that of the class token",
        look="positions that begin at 1 (arange(1, n + 1)), or a class row put behind the others",
        refute=ZERO_TABLE,
        topic="position of the class token",
        evidence=(),
        shows="pos_embed",
        tensors=table_moved(-1),
        needs=("class_token", "class_position"),
    ),
    Mistake(
        name="class_token_without_position",
        what="the class token gets no position although the table has a row for it",
        look="positions that are added before the class token is put in front, from table[:, 1:]",
        refute="Compare the patches of `pos_embed`: an error there has another cause.",
        topic="position of the class token",
        evidence=ORDER,
        shows="pos_embed",
        tensors=no_row_for_token,
        needs=("class_token", "class_position"),
    ),
    Mistake(
        name="class_position_twice",
        what="the class token's position is added to the stored token and once more with the table",
        look="a conversion that folds pos_embed[0] into cls_token and keeps the row",
        refute="Compare the patches of `pos_embed`: an error there has another cause.",
        topic="position of the class token",
        evidence=(),
        shows="cls_token",
        tensors=folded_and_kept,
        needs=("class_token", "class_position"),
    ),
    Mistake(
        name="class_token_folded",
        what="the class token's position is added to the stored token, and its row is zero",
        look="a conversion that folds pos_embed[0] into cls_token",
        refute=(
            "Compare `pos_embed`: an error there has another cause, since the sum of the two is the same."
        ),
        topic="position of the class token",
        evidence=("huggingface/pytorch-image-models#2014",),
        shows="cls_token",
        tensors=folded,
        needs=("class_token", "class_position"),
        equivalent="The first token is cls_token + pos_embed[0] either way, and the gradient of each of"
        " the two is the cotangent of that sum. Only the tap between the two additions differs.",
    ),
    Mistake(
        name="positions_twice",
        what="the positions are added twice",
        look="positions added in the embedding and again before the first block",
        refute=ZERO_TABLE,
        evidence=(),
        shows="pos_embed",
        edits={
            "position_embedding": (
                "return x + table, None -> return x + table + table, None",
                "xp.sum(dy, axis=0, keepdims=True) -> 2 * xp.sum(dy, axis=0, keepdims=True)",
            )
        },
    ),
    Mistake(
        name="positions_subtracted",
        what="the positions are subtracted",
        look="the sign where the table is joined to the patches",
        refute=ZERO_TABLE,
        evidence=(),
        shows="pos_embed",
        edits={
            "position_embedding": (
                "return x + table, None -> return x - table, None",
                "xp.sum(dy, axis=0, keepdims=True) -> -xp.sum(dy, axis=0, keepdims=True)",
            )
        },
    ),
    Mistake(
        name="positions_multiplied",
        what="the patches are multiplied by the positions instead of added to them",
        look="the operator where the table is joined to the patches",
        refute=(
            "Subtract the right `patch_embed.proj` from `pos_embed`: if what is left is the same "
            "for every image, this is not the cause."
        ),
        evidence=(),
        shows="pos_embed",
        edits={
            "position_embedding": (
                "return x + table, None -> return x * table, (x, table)",
                (
                    "return Grads(dy, xp.sum(dy, axis=0, keepdims=True)) -> x, table = saved\n    return "
                    "Grads(dy * table, xp.sum(dy * x, axis=0, keepdims=True))"
                ),
            )
        },
    ),
    Mistake(
        name="positions_by_columns",
        what="the position table is read down the columns instead of along the rows",
        look="a table reshaped as (w h), or indexed by column before row",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=(*GRID, "facebookresearch/dinov2#582"),
        shows="pos_embed",
        tensors=table_by_columns,
        alike=("patches_by_columns",),
        alike_on="models with a square grid, in evaluation",
    ),
    Mistake(
        name="positions_serpentine",
        what="the position table is read back and forth along the rows",
        look="the index by which patches find their row of the table",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=(),
        shows="pos_embed",
        tensors=table_in_order(orders.serpentine),
        alike=("patches_serpentine",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="positions_in_blocks",
        what="the position table is read in blocks of 2 by 2",
        look="an index of positions that was made for patches in blocks, as in Qwen2-VL and its relatives",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=("lablup/mlxcel#1610",),
        shows="pos_embed",
        tensors=table_in_order(orders.in_blocks),
        alike=("patches_in_blocks",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="positions_backwards",
        what="the position table is read from the last patch to the first",
        look="a table or an index that is reversed",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=(),
        shows="pos_embed",
        tensors=table_in_order(orders.backwards),
        alike=("patches_backwards",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="positions_mirrored",
        what="each row of the position table is read from right to left",
        look="columns that are counted from the right",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=(),
        shows="pos_embed",
        tensors=table_in_order(orders.mirrored),
        alike=("patches_mirrored",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="positions_upside_down",
        what="the rows of the position table are read from bottom to top",
        look="rows that are counted from the bottom",
        refute=ZERO_TABLE,
        topic="rows and columns",
        evidence=(),
        shows="pos_embed",
        tensors=table_in_order(orders.upside_down),
        alike=("patches_upside_down",),
        alike_on="models that do not resize their table, in evaluation",
    ),
)
