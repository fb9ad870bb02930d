"""Mistakes of the backward passes between the first block and the pixels."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import GRADIENT_ZERO, ONE_IMAGE

FLATTEN = ("vllm-project/vllm-omni#6702", "lucidrains/vit-pytorch#352", "lucidrains/vit-pytorch#184")
GRID = ("osaurus-ai/vmlx-swift#225", "lablup/mlxcel#1610", "weiyx16/CLIP-pytorch#1")
PATCHES, IMAGE_AXES = "xp.reshape(dy, (n, rows, columns, c, h, w))", "xp.permute_dims(dx, (0, 3, 1, 4, 2, 5))"
TABLE_SUM = "xp.sum(dy, axis=0, keepdims=True)"
TOKEN_SUM = "xp.sum(dy[:, :1, :], axis=0, keepdims=True)"

MISTAKES = (
    Mistake(
        name="kernel_gradient_channels_last",
        what="the gradient of the patch kernel is put back as (row, column, channel)",
        look="the layout in which the gradient of a linear patch weight is viewed as a convolution's",
        refute=(
            "Sum the gradient over all elements that belong to one output: an error of such a sum "
            "has another cause."
        ),
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
        name="image_gradient_by_columns",
        what="the gradient of the image puts the patches back down the columns",
        look="the fold in the backward pass of the patches: (w h) for (h w)",
        refute=(
            "Use a grid of one row: nothing can be exchanged, so an error that remains has another cause."
        ),
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
    Mistake(
        name="image_without_gradient",
        what="no gradient reaches the image",
        look="an input without requires_grad, or a backward pass that stops at the patch projection",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="image:dy",
        backward=True,
        edits={"unfold": (f"dx = {PATCHES} -> dx = 0 * {PATCHES}",)},
    ),
    Mistake(
        name="class_token_gradient_of_one_image",
        what="the gradient of the class token comes from the first image of the batch alone",
        look="dy[0, 0] for a sum over the batch in the gradient of the class token",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="cls_token:grad",
        backward=True,
        edits={"class_token": ("xp.sum(dy[:, :1, :], axis=0, keepdims=True) -> dy[:1, :1, :]",)},
    ),
    Mistake(
        name="class_token_gradient_averaged",
        what="the gradient of the class token is averaged over the batch instead of summed",
        look="mean for sum in the gradient of the class token",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="cls_token:grad",
        backward=True,
        edits={"class_token": (f"{TOKEN_SUM} -> {TOKEN_SUM.replace('xp.sum', 'xp.mean')}",)},
    ),
    Mistake(
        name="class_token_without_gradient",
        what="the class token gets no gradient",
        look="a buffer where a parameter is meant, or an expand that is detached",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="cls_token:grad",
        backward=True,
        edits={"class_token": (f"{TOKEN_SUM} -> 0 * {TOKEN_SUM}",)},
    ),
    Mistake(
        name="class_token_split_off_behind",
        what="the gradient is split as if the class token stood behind the patches",
        look="the slice of the gradient that belongs to the class token: -1 for 0",
        refute=(
            "Compare `cls_token:grad` with the sum of the cotangent's rows 0: if they agree, this "
            "is not the cause."
        ),
        topic="place of the class token",
        evidence=(),
        shows="*",
        backward=True,
        edits={
            "class_token": (f"dy[:, 1:, :], {TOKEN_SUM} -> dy[:, :-1, :], {TOKEN_SUM.replace(':1', '-1:')}",)
        },
    ),
    Mistake(
        name="position_gradient_averaged",
        what="the gradient of the position table is averaged over the batch instead of summed",
        look="mean for sum in the gradient of the position table",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="pos_embed:grad",
        backward=True,
        edits={"position_embedding": ("xp.sum(dy, axis=0 -> xp.mean(dy, axis=0",)},
    ),
    Mistake(
        name="position_gradient_of_one_image",
        what="the gradient of the position table comes from the first image alone",
        look="dy[0] for a sum over the batch in the gradient of the position table",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="pos_embed:grad",
        backward=True,
        edits={"position_embedding": (f"{TABLE_SUM} -> dy[:1, ...]",)},
    ),
    Mistake(
        name="positions_without_gradient",
        what="the position table gets no gradient",
        look="a buffer where a parameter is meant, or requires_grad=False, as for fixed sine tables",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="pos_embed:grad",
        backward=True,
        edits={"position_embedding": (f"{TABLE_SUM} -> 0 * {TABLE_SUM}",)},
    ),
)
