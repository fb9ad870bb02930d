"""Mistakes where the position table is resized to another grid."""

from collections.abc import Callable
from dataclasses import replace

from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import SAME_GRID

GRID = ("osaurus-ai/vmlx-swift#225", "lablup/mlxcel#1610", "weiyx16/CLIP-pytorch#1")
RESIZED = "resized = resize(table, rows=rows, columns=columns, prefix=prefix, xp=xp)"
UNRESIZED = "resize(dresized, rows=transposed[0], columns=transposed[1], prefix=prefix, xp=xp)"


def resized_by(recipe: str) -> Callable[[Config], Config]:
    """Another recipe, for a model that resizes its table at all."""
    return lambda config: (
        replace(config, position_resize=recipe)
        if config.position_resize and config.grid != config.position_grid
        else config
    )


MISTAKES = (
    Mistake(
        name="positions_cut",
        what="the first rows of the position table are taken where it should be resized",
        look="pos_embed[:, :n] or arange(n) where the stored table has another size",
        refute=SAME_GRID,
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
        look="a comparison of numbers of tokens, not of rows and columns, before the resize",
        refute=(
            "Run at an image size with another number of patches: if the error is the same there, "
            "this is not the cause."
        ),
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
        look="size=(w, h), or a grid (columns, rows) given where the table is resized",
        refute=(
            "Resize to a square grid from a square grid: an error of `pos_embed` that remains has "
            "another cause."
        ),
        topic="rows and columns",
        evidence=GRID,
        shows="pos_embed",
        edits={"embed": ('{"rows": rows, "columns": columns, -> {"rows": columns, "columns": rows,',)},
    ),
    Mistake(
        name="resize_without_antialias",
        what="positions are resized bicubically without antialias, torch's default",
        look="antialias=False in the interpolation of positions, torch's default; transformers' recipe",
        refute=(
            "Enlarge the table instead of shrinking it: antialias then changes the cubic's "
            "constant alone, and an error as large refutes it."
        ),
        topic="antialias of positions",
        evidence=("ggml-org/llama.cpp#17577", "open-edge-platform/anomalib#3627"),
        shows="pos_embed",
        config=resized_by("bicubic"),
    ),
    Mistake(
        name="resize_with_antialias",
        what="positions are resized bicubically with antialias, timm's way, where the model has none",
        look="antialias=True in the interpolation of positions; timm's recipe",
        refute=SAME_GRID,
        topic="antialias of positions",
        evidence=("ggml-org/llama.cpp#17577", "huggingface/transformers#35411"),
        shows="pos_embed",
        config=resized_by("bicubic_antialias"),
    ),
    Mistake(
        name="resize_cubic_half",
        what="positions are resized without antialias by the cubic of a = -1/2, Pillow's and JAX's",
        look="the library that resizes: JAX and Pillow take a = -1/2, torch without antialias a = -3/4",
        refute=SAME_GRID,
        topic="cubic coefficient",
        evidence=("jax-ml/jax#15768", "Blaizzy/mlx-vlm#1241", "huggingface/transformers#31960"),
        shows="pos_embed",
        config=resized_by("bicubic_half"),
    ),
    Mistake(
        name="resize_bilinear",
        what="positions are resized bilinearly, pixel centres at half-integers",
        look="mode='bilinear' in the interpolation of positions",
        refute=(
            "Resize a table that is a linear ramp: a linear filter keeps its inner part exactly, "
            "so an error there refutes it."
        ),
        topic="kind and corners of resizing",
        evidence=("huggingface/pytorch-image-models#2543", "facebookresearch/dinov2#468"),
        shows="pos_embed",
        config=resized_by("bilinear"),
    ),
    Mistake(
        name="resize_bilinear_antialias",
        what="positions are resized bilinearly with antialias",
        look="mode='bilinear' with antialias=True, or jax.image.resize with method 'linear'",
        refute=SAME_GRID,
        topic="kind and corners of resizing",
        evidence=(),
        shows="pos_embed",
        config=resized_by("bilinear_antialias"),
    ),
    Mistake(
        name="resize_antialias_sharp",
        what="positions are resized with antialias by the cubic of a = -3/4",
        look="a filter written by hand that joins torch's constant with Pillow's antialias",
        refute=SAME_GRID,
        topic="cubic coefficient",
        evidence=(),
        shows="pos_embed",
        config=resized_by("bicubic_antialias_sharp"),
    ),
    Mistake(
        name="resize_align_corners",
        what="positions are resized bilinearly with the corners on each other, as by scipy.ndimage.zoom",
        look="align_corners=True, or scipy.ndimage.zoom with order=1",
        refute=(
            "Look at the four corners of the resized table: unless they equal the stored ones, "
            "this is not the cause."
        ),
        topic="kind and corners of resizing",
        evidence=("google-research/scenic#327", "huggingface/pytorch-image-models#750"),
        shows="pos_embed",
        config=resized_by("bilinear_corners"),
    ),
    Mistake(
        name="resize_by_factor",
        what="positions are resized by the factor (n + 0.1) / m instead of to the size n",
        look="scale_factor=(n + 0.1) / m, as in DINO and DINOv2 without registers, where a size is meant",
        refute=(
            "Look at the first row and column of the resized table, where the shift is smallest: "
            "an error that is largest there refutes it."
        ),
        topic="resizing by a factor",
        evidence=("facebookresearch/dinov2#378", "facebookresearch/dino#8", "huggingface/transformers#35411"),
        shows="pos_embed",
        edits={
            "embed": (
                "from vitref import resampling -> from vitref.verify.mistakes import offset as resampling",
            )
        },
    ),
)
