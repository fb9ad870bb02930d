"""Mistakes between the pixels and the sequence: the order of pixels and patches, and their projection."""

from collections.abc import Mapping

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import SAME_PATCHES, SAME_PIXELS

FLATTEN = ("vllm-project/vllm-omni#6702", "lucidrains/vit-pytorch#352", "lucidrains/vit-pytorch#184")
GRID = ("osaurus-ai/vmlx-swift#225", "lablup/mlxcel#1610", "weiyx16/CLIP-pytorch#1")

PATCH_AXES, IMAGE_AXES = "xp.permute_dims(x, (0, 2, 4, 1, 3, 5))", "xp.permute_dims(dx, (0, 3, 1, 4, 2, 5))"
PATCHES = "xp.reshape(dy, (n, rows, columns, c, h, w))"
IMPORT = (
    "from typing import NamedTuple -> from typing import NamedTuple\nfrom "
    "vitref.verify.mistakes import orders"
)
FLAT = "return xp.reshape(x, (n, rows * columns, c * h * w)),"
CUT = "image[:, :, : rows * h, : columns * w]"
BORDERS = "return Grads(xp.concat([xp.concat([dx, right], axis=3), bottom], axis=2))"
PROJECTED = "return y, Saved(saved, weight.shape)"


def in_order(name: str) -> Mapping[str, tuple[str, ...]]:
    """The patches follow each other in an order of `orders`."""
    order = f"orders.{name}(rows, columns)"
    back = f"orders.taken(dy, orders.inverse({order}), xp)"
    return {
        "unfold": (
            IMPORT,
            (
                f"{FLAT} -> x = orders.taken(xp.reshape(x, (n, rows * columns, c * h * w)), {order}, "
                f"xp)\n    {FLAT}"
            ),
            f"{PATCHES} -> {PATCHES.replace('(dy,', f'({back},')}",
        )
    }


MISTAKES = (
    Mistake(
        name="pixels_channels_last",
        what="the pixels of a patch come as (row, column, channel) to a kernel that has the channels first",
        look="einops' (p1 p2 c) or a reshape of an (H, W, C) picture, before a weight of a convolution",
        refute=SAME_PIXELS,
        topic="order of a patch's pixels",
        evidence=FLATTEN,
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                f"{PATCH_AXES} -> xp.permute_dims(x, (0, 2, 4, 3, 5, 1))",
                f"{PATCHES} -> xp.reshape(dy, (n, rows, columns, h, w, c))",
                f"{IMAGE_AXES} -> xp.permute_dims(dx, (0, 5, 1, 3, 2, 4))",
            )
        },
        alike=("kernel_channels_first",),
    ),
    Mistake(
        name="pixels_viewed_channels_first",
        what=(
            "pixels in the order (row, column, channel) are expected, and those in order of "
            "channels are re-sorted so"
        ),
        look="a permutation of the flattened patch that undoes an order which it does not have",
        refute=SAME_PIXELS,
        topic="order of a patch's pixels",
        evidence=(),
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                (
                    f"{FLAT} -> x = xp.permute_dims(xp.reshape(x, (n, rows, columns, h, w, c)), (0, 1, 2, "
                    f"5, 3, 4))\n    {FLAT}"
                ),
                (
                    f"dx = {PATCHES} -> dx = {PATCHES}\n    dx = xp.reshape(xp.permute_dims(dx, (0, 1, 2, "
                    "4, 5, 3)), (n, rows, columns, c, h, w))"
                ),
            )
        },
        alike=("kernel_channels_last",),
    ),
    Mistake(
        name="patches_transposed",
        what="rows and columns of pixels are swapped within each patch",
        look="p2 p1 for p1 p2 in the flattening, or pictures (W, H)",
        refute=SAME_PIXELS,
        topic="rows and columns",
        evidence=GRID,
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                f"{PATCH_AXES} -> xp.permute_dims(x, (0, 2, 4, 1, 5, 3))",
                f"{PATCHES} -> xp.reshape(dy, (n, rows, columns, c, w, h))",
                f"{IMAGE_AXES} -> xp.permute_dims(dx, (0, 3, 1, 5, 2, 4))",
            )
        },
        alike=("kernel_transposed",),
    ),
    Mistake(
        name="pixels_backwards",
        what="the pixels of each patch come from its last row and column to its first",
        look="a true convolution, which flips its kernel, where a correlation is meant",
        refute=SAME_PIXELS,
        topic="order of a patch's pixels",
        evidence=(),
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                IMPORT,
                (
                    f"{FLAT} -> x = xp.reshape(x, (n * rows * columns * c, h * w))\n    x = "
                    f"orders.taken(x, range(h * w)[::-1], xp)\n    {FLAT}"
                ),
                (
                    f"dx = {PATCHES} -> dx = xp.reshape(dy, (n * rows * columns * c, h * w))\n    dx = "
                    "orders.taken(dx, range(h * w)[::-1], xp)\n    dx = xp.reshape(dx, (n, rows, columns, "
                    "c, h, w))"
                ),
            )
        },
        alike=("kernel_flipped",),
    ),
    Mistake(
        name="patches_by_columns",
        what="the patches follow each other down the columns instead of along the rows",
        look="a grid flattened as (w h), or a transposition of the grid before the flattening",
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=GRID,
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                f"{PATCH_AXES} -> xp.permute_dims(x, (0, 4, 2, 1, 3, 5))",
                f"{PATCHES} -> xp.reshape(dy, (n, columns, rows, c, h, w))",
                f"{IMAGE_AXES} -> xp.permute_dims(dx, (0, 3, 2, 4, 1, 5))",
            )
        },
        alike=("positions_by_columns",),
        alike_on="models with a square grid, in evaluation",
    ),
    Mistake(
        name="patches_serpentine",
        what="every second row of patches comes from right to left",
        look="a scan that goes back and forth",
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=(),
        shows="patch_embed.unfold",
        edits=in_order("serpentine"),
        alike=("positions_serpentine",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="patches_in_blocks",
        what="the patches come in blocks of 2 by 2, as models that merge patches store them",
        look=(
            "a reshape to (rows / 2, 2, columns / 2, 2) with a permutation, as in Qwen2-VL and its relatives"
        ),
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=("lablup/mlxcel#1610",),
        shows="patch_embed.unfold",
        edits=in_order("in_blocks"),
        alike=("positions_in_blocks",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="patches_backwards",
        what="the patches come from the last to the first",
        look="a sequence that is reversed, or built by prepending",
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=(),
        shows="patch_embed.unfold",
        edits=in_order("backwards"),
        alike=("positions_backwards",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="patches_mirrored",
        what="the patches of each row come from right to left, each one unchanged",
        look="an index that runs downwards over the columns of the grid",
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=(),
        shows="patch_embed.unfold",
        edits=in_order("mirrored"),
        alike=("positions_mirrored",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="patches_upside_down",
        what="the rows of patches come from bottom to top, each patch unchanged",
        look="an index that runs downwards over the rows of the grid",
        refute=SAME_PATCHES,
        topic="rows and columns",
        evidence=(),
        shows="patch_embed.unfold",
        edits=in_order("upside_down"),
        alike=("positions_upside_down",),
        alike_on="models that do not resize their table, in evaluation",
    ),
    Mistake(
        name="remainder_cut_in_front",
        what="pixels that fill no patch are cut off at the top and left instead of the bottom and right",
        look="padding or cropping of the picture to a multiple of the patch size",
        refute=(
            "Feed an image whose sides are multiples of the patch size: an error that remains has "
            "another cause."
        ),
        topic="rows and columns",
        evidence=(),
        shows="patch_embed.unfold",
        edits={
            "unfold": (
                f"{CUT} -> image[:, :, height - rows * h :, width - columns * w :]",
                f"{BORDERS} -> return Grads(xp.concat([bottom, xp.concat([right, dx], axis=3)], axis=2))",
            )
        },
    ),
    Mistake(
        name="patches_scaled",
        what=(
            "the patches' embeddings are multiplied by the root of the width, as words' are in "
            "the Transformer"
        ),
        look="a factor sqrt(d_model) behind the embedding, inherited from code for text",
        refute=(
            "Divide `patch_embed.proj` by the right one: unless the ratio is the same everywhere, "
            "this is not the cause."
        ),
        evidence=(),
        shows="patch_embed.proj",
        edits={
            "patch_projection": (
                f"{PROJECTED} -> return y * float(y.shape[-1]) ** 0.5, Saved(saved, weight.shape)",
                (
                    "linear.backward(dy, saved.linear, xp=xp) -> linear.backward(dy * float(dy.shape[-1]) "
                    "** 0.5, saved.linear, xp=xp)"
                ),
            )
        },
    ),
    Mistake(
        name="activation_behind_patches",
        what="a tanh stands behind the patch projection",
        look="an activation in the patch embedding, as convolutional stems have one",
        refute="Look at `patch_embed.proj`: an element of more than 1 in size refutes it.",
        evidence=(),
        shows="patch_embed.proj",
        edits={
            "patch_projection": (
                f"{PROJECTED} -> y = xp.tanh(y)\n    return y, (Saved(saved, weight.shape), y)",
                "dx, dflat, dbias = -> saved, y = saved\n    dy = dy * (1 - y * y)\n    dx, dflat, dbias =",
            )
        },
    ),
)
