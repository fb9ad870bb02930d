"""Mistakes between the pixels and the first block: patches, class token, positions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake, Tensors

FLATTEN = ("vllm-project/vllm-omni#6702", "lucidrains/vit-pytorch#352", "lucidrains/vit-pytorch#184")
GRID = ("osaurus-ai/vmlx-swift#225", "lablup/mlxcel#1610", "weiyx16/CLIP-pytorch#1")
ORDER = ("labmlai/annotated_deep_learning_paper_implementations#221", "huggingface/pytorch-image-models#2014")

PATCH_AXES, IMAGE_AXES = "xp.permute_dims(x, (0, 2, 4, 1, 3, 5))", "xp.permute_dims(dx, (0, 3, 1, 4, 2, 5))"
RESIZED = "resized = resize(table, rows=rows, columns=columns, prefix=prefix, xp=xp)"
UNRESIZED = "resize(dresized, rows=transposed[0], columns=transposed[1], prefix=prefix, xp=xp)"
PATCHES = "xp.reshape(dy, (n, rows, columns, c, h, w))"


def resized_by(recipe: str) -> Callable[[Config], Config]:
    """Another recipe, for a model that resizes its table at all."""
    return lambda config: replace(config, position_resize=recipe) if config.position_resize else config


def table_by_columns(tensors: Tensors, config: Config) -> Tensors:
    prefix, (rows, columns) = config.position_prefix, config.position_grid
    table = tensors["pos_embed"]
    patches = table[:, prefix:].reshape(1, rows, columns, -1).swapaxes(1, 2).reshape(1, rows * columns, -1)
    return {"pos_embed": np.concat([table[:, :prefix], patches], axis=1)}


def table_one_late(tensors: Tensors, config: Config) -> Tensors:
    if not config.position_prefix:
        return {}
    return {"pos_embed": np.concat([tensors["pos_embed"][:, -1:], tensors["pos_embed"][:, :-1]], axis=1)}


def no_row_for_token(tensors: Tensors, config: Config) -> Tensors:
    table = tensors["pos_embed"].copy()
    table[:, : config.position_prefix] = 0
    return {"pos_embed": table}


def folded(tensors: Tensors, config: Config) -> Tensors:
    if not config.position_prefix:
        return {}
    row = tensors["pos_embed"][:, :1]
    return {"cls_token": tensors["cls_token"] + row, **no_row_for_token(tensors, config)}


MISTAKES = (
    Mistake(
        name="pixels_channels_last",
        what="the pixels of a patch come as (row, column, channel) to a kernel that has the channels first",
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
    ),
    Mistake(
        name="patches_by_columns",
        what="the patches follow each other down the columns instead of along the rows",
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
    ),
    Mistake(
        name="patches_transposed",
        what="rows and columns of pixels are swapped within each patch",
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
    ),
    Mistake(
        name="class_token_last",
        what="the class token is put behind the patches, while positions and pooling expect it in front",
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
    ),
    Mistake(
        name="positions_one_late",
        what="every token gets the position of the token before it",
        topic="position of the class token",
        evidence=ORDER,
        shows="pos_embed",
        tensors=table_one_late,
    ),
    Mistake(
        name="class_token_without_position",
        what="the class token gets no position although the table has a row for it",
        topic="position of the class token",
        evidence=ORDER,
        shows="pos_embed",
        tensors=no_row_for_token,
    ),
    Mistake(
        name="class_token_folded",
        what="the class token's position is added to the stored token, and its row is zero",
        topic="position of the class token",
        evidence=("huggingface/pytorch-image-models#2014",),
        shows="cls_token",
        tensors=folded,
        equivalent="The first token is cls_token + pos_embed[0] either way, and the gradient of each of"
        " the two is the cotangent of that sum. Only the tap between the two additions differs.",
    ),
    Mistake(
        name="positions_by_columns",
        what="the position table is read down the columns instead of along the rows",
        topic="rows and columns",
        evidence=(*GRID, "facebookresearch/dinov2#582"),
        shows="pos_embed",
        tensors=table_by_columns,
    ),
    Mistake(
        name="positions_cut",
        what="the first rows of the position table are taken where it should be resized",
        topic="positions not resized",
        evidence=("warpfront/hipfire#324", "huggingface/pytorch-image-models#2190"),
        shows="pos_embed",
        edits={
            "resized_position_embedding": (
                f"{RESIZED} -> resized = table[:, : x.shape[1], :]",
                f"return Grads(dx, {UNRESIZED}) -> "
                "unused = rows.shape[1] * columns.shape[1] + prefix - dy.shape[1]\n"
                "    zeros = xp.zeros((1, unused, dy.shape[2]), dtype=dy.dtype)\n"
                "    return Grads(dx, xp.concat([dresized, zeros], axis=1))",
            )
        },
    ),
    Mistake(
        name="positions_resized_by_count",
        what="the position table is resized only if the number of places differs: (2, 8) serves for (4, 4)",
        topic="positions not resized",
        evidence=("huggingface/pytorch-image-models#2737", "huggingface/transformers#32410"),
        shows="pos_embed",
        edits={
            "resized_position_embedding": (
                f"{RESIZED} -> resized = table",
                f"{UNRESIZED} -> dresized",
            )
        },
    ),
    Mistake(
        name="resize_axes_swapped",
        what="the rows of the position table are resized as its columns should be, and the reverse",
        topic="rows and columns",
        evidence=GRID,
        shows="pos_embed",
        edits={"embed": ('{"rows": rows, "columns": columns, -> {"rows": columns, "columns": rows,',)},
    ),
    Mistake(
        name="resize_without_antialias",
        what="positions are resized bicubically without antialias, torch's default",
        topic="antialias of positions",
        evidence=("ggml-org/llama.cpp#17577", "open-edge-platform/anomalib#3627"),
        shows="pos_embed",
        config=resized_by("bicubic"),
    ),
    Mistake(
        name="resize_with_antialias",
        what="positions are resized bicubically with antialias, timm's way, where the model has none",
        topic="antialias of positions",
        evidence=("ggml-org/llama.cpp#17577", "huggingface/transformers#35411"),
        shows="pos_embed",
        config=resized_by("bicubic_antialias"),
    ),
    Mistake(
        name="resize_cubic_half",
        what="positions are resized without antialias by the cubic of a = -1/2, Pillow's and JAX's",
        topic="cubic coefficient",
        evidence=("jax-ml/jax#15768", "Blaizzy/mlx-vlm#1241", "huggingface/transformers#31960"),
        shows="pos_embed",
        config=resized_by("bicubic_half"),
    ),
    Mistake(
        name="resize_bilinear",
        what="positions are resized bilinearly, pixel centres at half-integers",
        topic="kind and corners of resizing",
        evidence=("huggingface/pytorch-image-models#2543", "facebookresearch/dinov2#468"),
        shows="pos_embed",
        config=resized_by("bilinear"),
    ),
    Mistake(
        name="resize_align_corners",
        what="positions are resized bilinearly with the corners on each other, as by scipy.ndimage.zoom",
        topic="kind and corners of resizing",
        evidence=("google-research/scenic#327", "huggingface/pytorch-image-models#750"),
        shows="pos_embed",
        config=resized_by("bilinear_corners"),
    ),
    Mistake(
        name="resize_by_factor",
        what="positions are resized by the factor (n + 0.1) / m instead of to the size n",
        topic="resizing by a factor",
        evidence=("facebookresearch/dinov2#378", "facebookresearch/dino#8", "huggingface/transformers#35411"),
        shows="pos_embed",
        edits={
            "embed": (
                "from vitref import resampling -> from vitref.verify.mistakes import offset as resampling",
            )
        },
    ),
    Mistake(
        name="kernel_gradient_channels_last",
        what="the gradient of the patch kernel is put back as (row, column, channel)",
        topic="order of a patch's pixels",
        evidence=FLATTEN,
        shows="patch_embed.proj.weight:grad",
        backward=True,
        edits={
            "patch_projection": (
                "xp.reshape(dflat, saved.kernel_shape) -> xp.permute_dims(xp.reshape(dflat, "
                "tuple(saved.kernel_shape[axis] for axis in (0, 2, 3, 1))), (0, 3, 1, 2))",
            )
        },
    ),
    Mistake(
        name="class_token_gradient_of_one_image",
        what="the gradient of the class token comes from the first image of the batch alone",
        topic="gradients",
        evidence=(),
        shows="cls_token:grad",
        backward=True,
        edits={"class_token": ("xp.sum(dy[:, :1, :], axis=0, keepdims=True) -> dy[:1, :1, :]",)},
    ),
    Mistake(
        name="position_gradient_averaged",
        what="the gradient of the position table is averaged over the batch instead of summed",
        topic="gradients",
        evidence=(),
        shows="pos_embed:grad",
        backward=True,
        edits={"position_embedding": ("xp.sum(dy, axis=0 -> xp.mean(dy, axis=0",)},
    ),
    Mistake(
        name="image_gradient_by_columns",
        what="the gradient of the image puts the patches back down the columns",
        topic="rows and columns",
        evidence=GRID,
        shows="image:dy",
        backward=True,
        edits={
            "unfold": (
                f"{PATCHES} -> xp.reshape(dy, (n, columns, rows, c, h, w))",
                f"{IMAGE_AXES} -> xp.permute_dims(dx, (0, 3, 2, 4, 1, 5))",
            )
        },
    ),
)
