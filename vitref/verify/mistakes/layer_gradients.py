"""Mistakes of the backward passes of LayerNorm and of linear layers."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.normalisation import DX
from vitref.verify.mistakes.refutations import FINITE, GRADIENT_RATIO, GRADIENT_ZERO, ONE_IMAGE, ONE_ROW

DWEIGHT = "dweight = xp.matmul(xp.matrix_transpose(dy_rows), _rows(x, xp))"
DBIAS = "xp.sum(dy_rows, axis=0)"
NORM_DWEIGHT, NORM_DBIAS = "xp.sum(dy * xhat, axis=rows)", "xp.sum(dy, axis=rows))"
ALONG = "Multiply dx by xhat and sum over the channels: sums near 0 (up to eps) refute it."
SUMS = "Sum the LayerNorm's dx over the channels: sums of 0 refute it."
SIZES = (
    "Divide dx by the right one, token by token: unless the ratio is one number per "
    "token, this is not the cause."
)

MISTAKES = (
    Mistake(
        name="mean_of_g_missing",
        what="the term mean(g) is left out of LayerNorm's dx",
        look="the backward function of LayerNorm: the first of its two means",
        refute=SUMS,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - xhat * g_along)",)},
    ),
    Mistake(
        name="mean_of_g_xhat_missing",
        what="the term xhat mean(g xhat) is left out of LayerNorm's dx",
        look="the backward function of LayerNorm: the second of its two means",
        refute=ALONG,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - g_mean)",)},
    ),
    Mistake(
        name="statistics_without_gradient",
        what="mean and variance count as constants: LayerNorm's dx is r g",
        look="detach or no_grad around mean and variance, or both means missing in the backward function",
        refute=SUMS,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * g",)},
    ),
    Mistake(
        name="mean_of_g_xhat_added",
        what="the term xhat mean(g xhat) is added in LayerNorm's dx instead of subtracted",
        look="the signs in the backward function of LayerNorm",
        refute=ALONG,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - g_mean + xhat * g_along)",)},
    ),
    Mistake(
        name="norm_means_over_fewer",
        what="the means in LayerNorm's dx divide by D - 1 instead of D",
        look=(
            "Bessel's correction, or a width that is counted otherwise, in the backward function of LayerNorm"
        ),
        refute=SUMS,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={
            "layer_norm": (
                (
                    f"{DX} -> more = dy.shape[-1] / max(dy.shape[-1] - 1, 1)\n    dx = r * (g - more * "
                    "g_mean - more * xhat * g_along)"
                ),
            )
        },
    ),
    Mistake(
        name="norm_sums_for_means",
        what="LayerNorm's dx has sums over the channels where it has means",
        look="a division by D that is missing in the backward function of LayerNorm",
        refute=SUMS,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - dy.shape[-1] * (g_mean + xhat * g_along))",)},
    ),
    Mistake(
        name="weight_missing_in_dx",
        what="LayerNorm's dx is made of dy instead of dy * weight",
        look="the backward function of LayerNorm: dy where dy * weight is meant",
        refute="Set the LayerNorm's weight to 1: an error that remains has another cause.",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": ("g = dy * weight -> g = dy",)},
    ),
    Mistake(
        name="deviation_missing_in_dx",
        what="LayerNorm's dx is not divided by the standard deviation",
        look="the factor r (rstd) in the backward function of LayerNorm",
        refute=SIZES,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = g - g_mean - xhat * g_along",)},
    ),
    Mistake(
        name="variance_for_deviation_in_dx",
        what="LayerNorm's dx is divided by the variance instead of the standard deviation",
        look="r * r, or 1 / var, in the backward function of LayerNorm",
        refute=SIZES,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * r * (g - g_mean - xhat * g_along)",)},
    ),
    Mistake(
        name="norm_without_gradient",
        what="LayerNorm passes no gradient on: its dx is zero",
        look="an operation without a backward function, or a fused norm for inference",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=("huggingface/candle#3613", "paiml/aprender#2196"),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = 0 * dy",)},
    ),
    Mistake(
        name="norm_dweight_without_xhat",
        what="the gradient of LayerNorm's weight is that of its bias",
        look="sum(dy) where sum(dy * xhat) is meant",
        refute=FINITE,
        topic="gradients",
        evidence=(),
        shows="*norm*.weight:grad",
        backward=True,
        edits={"layer_norm": (f"{NORM_DWEIGHT} -> xp.sum(dy, axis=rows)",)},
    ),
    Mistake(
        name="norm_dweight_of_output",
        what="the gradient of LayerNorm's weight is made of weight * xhat instead of xhat",
        look="an output saved for the backward pass where the normalised input is meant",
        refute="Set the LayerNorm's weight to 1: an error that remains has another cause.",
        topic="gradients",
        evidence=(),
        shows="*norm*.weight:grad",
        backward=True,
        edits={"layer_norm": (f"{NORM_DWEIGHT} -> xp.sum(dy * xhat * weight, axis=rows)",)},
    ),
    Mistake(
        name="norm_gradients_averaged",
        what="the gradients of LayerNorm's weight and bias are averaged over tokens and images, not summed",
        look="mean for sum in the backward function of LayerNorm",
        refute=ONE_ROW,
        topic="gradients",
        evidence=(),
        shows="*norm*:grad",
        backward=True,
        edits={
            "layer_norm": (
                (f"{NORM_DWEIGHT}, {NORM_DBIAS} -> xp.mean(dy * xhat, axis=rows), xp.mean(dy, axis=rows))"),
            )
        },
    ),
    Mistake(
        name="norm_dbias_over_one_axis",
        what="LayerNorm's dbias is summed over the first axis only, as if the input had two axes",
        look="sum(dim=0) in the backward function of LayerNorm, for an input with three axes",
        refute="Look at the shape of the gradient: a single axis refutes it.",
        topic="gradients",
        evidence=("flagos-ai/FlagGems#5392",),
        shows="*norm*.bias:grad",
        backward=True,
        edits={"layer_norm": ("xp.sum(dy, axis=rows) -> xp.sum(dy, axis=0)",)},
    ),
    Mistake(
        name="norm_gradients_of_one_image",
        what="the gradients of LayerNorm's weight and bias come from the first image alone",
        look="a gradient that is overwritten for each image instead of added",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="*norm*:grad",
        backward=True,
        edits={
            "layer_norm": (
                (
                    f"{NORM_DWEIGHT}, {NORM_DBIAS} -> xp.sum((dy * xhat)[:1, ...], axis=rows), "
                    "xp.sum(dy[:1, ...], axis=rows))"
                ),
            )
        },
    ),
    Mistake(
        name="dbias_averaged",
        what="the gradient of a linear layer's bias is averaged over tokens and images, not summed",
        look="mean for sum in the gradient of a bias",
        refute=ONE_ROW,
        topic="gradients",
        evidence=(),
        shows="*.bias:grad",
        backward=True,
        edits={"linear": ("xp.sum(dy_rows, axis=0) -> xp.mean(dy_rows, axis=0)",)},
    ),
    Mistake(
        name="dbias_of_one_token",
        what="the gradient of a linear layer's bias comes from the first row alone",
        look="an index for a sum in the gradient of a bias",
        refute=ONE_ROW,
        topic="gradients",
        evidence=(),
        shows="*.bias:grad",
        backward=True,
        edits={"linear": (f"{DBIAS} -> xp.sum(dy_rows[:1, :], axis=0)",)},
    ),
    Mistake(
        name="dbias_missing",
        what="the gradients of linear layers' biases are zero",
        look="a bias that the backward function forgets, or a parameter without requires_grad",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.bias:grad",
        backward=True,
        edits={"linear": (f"{DBIAS} -> 0 * xp.sum(dy_rows, axis=0)",)},
    ),
    Mistake(
        name="dbias_twice",
        what="the gradients of linear layers' biases are counted twice",
        look="+= into a gradient that the same pass has filled before",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.bias:grad",
        backward=True,
        edits={"linear": (f"{DBIAS} -> 2 * xp.sum(dy_rows, axis=0)",)},
    ),
    Mistake(
        name="dweight_of_one_token",
        what="the gradient of a linear layer's weight comes from the first row alone",
        look="an index for a sum in the gradient of a weight",
        refute=ONE_ROW,
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={
            "linear": (
                "xp.matmul(xp.matrix_transpose(dy_rows), _rows(x, xp)) -> "
                "xp.matmul(xp.matrix_transpose(dy_rows[:1, :]), _rows(x, xp)[:1, :])",
            )
        },
    ),
    Mistake(
        name="dweight_of_one_image",
        what="the gradients of linear layers' weights and biases come from the first image alone",
        look="gradients that are overwritten for each image of the batch instead of added",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="*:grad",
        backward=True,
        edits={
            "linear": (
                f"{DWEIGHT} -> first = dy_rows.shape[0] // max(dy.shape[0], 1) if dy.ndim > 1 else "
                "dy_rows.shape[0]\n"
                "    dweight = xp.matmul(xp.matrix_transpose(dy_rows[:first, :]), _rows(x, xp)[:first, :])",
                f"{DBIAS} -> xp.sum(dy_rows[:first, :], axis=0)",
            )
        },
    ),
    Mistake(
        name="dweight_averaged",
        what="the gradient of a linear layer's weight is averaged over tokens and images, not summed",
        look="a division by the number of rows in the gradient of a weight",
        refute=ONE_ROW,
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={"linear": (f"{DWEIGHT} -> {DWEIGHT} / max(dy_rows.shape[0], 1)",)},
    ),
    Mistake(
        name="dweight_twice",
        what="the gradients of linear layers' weights are counted twice",
        look="+= into a gradient that was not set to zero, or that the same pass has filled before",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={"linear": (f"{DWEIGHT} -> {DWEIGHT} * 2",)},
    ),
    Mistake(
        name="dweight_missing",
        what="the gradients of linear layers' weights are zero",
        look="frozen parameters, or a backward function that returns nothing for the weight",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={"linear": (f"{DWEIGHT} -> {DWEIGHT} * 0",)},
    ),
    Mistake(
        name="dweight_transposed",
        what="the gradient of a square weight is transposed",
        look="x.T @ dy for dy.T @ x, which only square weights let pass",
        refute="Transpose the gradient: unless it then agrees, this is not the cause.",
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={
            "linear": (
                (
                    f"{DWEIGHT} -> {DWEIGHT}\n    dweight = xp.matrix_transpose(dweight) if "
                    "weight.shape[0] == weight.shape[1] else dweight"
                ),
            )
        },
    ),
    Mistake(
        name="weight_transposed_in_dx",
        what="the weight of a square linear layer is transposed on the way back",
        look="dy @ weight.T for dy @ weight, which only square weights let pass",
        refute="Give the layer a symmetric weight: an error that remains has another cause.",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={
            "linear": (
                "dx = xp.reshape(xp.matmul(dy_rows, weight), x.shape) -> "
                "square = weight.shape[0] == weight.shape[1]\n"
                "    dx = xp.matmul(dy_rows, xp.matrix_transpose(weight) if square else weight)\n"
                "    dx = xp.reshape(dx, x.shape)",
            )
        },
    ),
    Mistake(
        name="linear_without_gradient",
        what="linear layers pass no gradient on: their dx is zero",
        look="detach or no_grad around a layer, or a frozen backbone under a trained head",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={
            "linear": (
                (
                    "dx = xp.reshape(xp.matmul(dy_rows, weight), x.shape) -> dx = 0 * "
                    "xp.reshape(xp.matmul(dy_rows, weight), x.shape)"
                ),
            )
        },
    ),
)
