"""Mistakes with a constant that may have any value, which is estimated: an eps, a scale, a factor.

They come last: where one of the mistakes before them explains as much, that is the better explanation.
"""

from dataclasses import replace

from vitref.verify.mistakes.attention import EXP, POWER, SUM_DX
from vitref.verify.mistakes.colours import right_array
from vitref.verify.mistakes.mistake import VALUE, Free, Mistake
from vitref.verify.mistakes.mlp import TANH, TANH_SLOPE, gate
from vitref.verify.mistakes.normalisation import DX, LAST_FC_NORM, LAST_NORM
from vitref.verify.mistakes.refutations import GRADIENT_RATIO, HAND, LARGE_ROWS, SCORE_RATIO, ZERO_TABLE

FACTOR = Free(1e-3, 1e3, 1.3)
RATIO = (
    "Divide this output by the right one, from the same inputs: unless the ratio is the "
    "same everywhere, this is not the cause."
)
SHIFT = (
    "Subtract the right `image` from the candidate's: unless the difference is the same "
    "everywhere, this is not the cause."
)

MISTAKES = (
    Mistake(
        name="pixels_by_a_factor",
        what="the normalised pixels are multiplied by one number",
        look="a range of pixels, or a std, that is the same for all channels and not the model's",
        refute=RATIO,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=lambda pictures, right, value: right_array(pictures, right) * value,
        on_arrays=True,
        free=FACTOR,
    ),
    Mistake(
        name="pixels_too_bright",
        what="one number is added to the normalised pixels",
        look="a mean that is too small, or 0, for all channels",
        refute=SHIFT,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=lambda pictures, right, value: right_array(pictures, right) + value,
        on_arrays=True,
        free=Free(1e-3, 1e1, 0.3),
    ),
    Mistake(
        name="pixels_too_dark",
        what="one number is subtracted from the normalised pixels",
        look="a mean that is too large, or subtracted twice, for all channels",
        refute=SHIFT,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=lambda pictures, right, value: right_array(pictures, right) - value,
        on_arrays=True,
        free=Free(1e-3, 1e1, 0.3),
    ),
    Mistake(
        name="patches_by_a_factor",
        what="the patches' embeddings are multiplied by one number",
        look="a factor behind the patch projection",
        refute=RATIO,
        evidence=(),
        shows="patch_embed.proj",
        edits={
            "patch_projection": (
                f"return y, Saved(saved, weight.shape) -> return {VALUE} * y, Saved(saved, weight.shape)",
                (
                    f"linear.backward(dy, saved.linear, xp=xp) -> linear.backward({VALUE} * dy, "
                    "saved.linear, xp=xp)"
                ),
            )
        },
        free=FACTOR,
    ),
    Mistake(
        name="positions_by_a_factor",
        what="the positions are multiplied by one number before they are added",
        look="a factor on the position table",
        refute=ZERO_TABLE,
        evidence=(),
        shows="pos_embed",
        edits={
            "position_embedding": (
                f"return x + table, None -> return x + {VALUE} * table, None",
                f"xp.sum(dy, axis=0, keepdims=True) -> {VALUE} * xp.sum(dy, axis=0, keepdims=True)",
            )
        },
        free=FACTOR,
    ),
    Mistake(
        name="eps",
        what="eps of every LayerNorm is another one than the model's",
        look="the eps given to LayerNorm",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        config=lambda config, value: replace(config, eps=value),
        free=Free(1e-13, 1e-1, 3e-4),
    ),
    Mistake(
        name="eps_outside_the_root",
        what="another eps than the model's is added to the standard deviation instead of the variance",
        look="x / (std + eps), and the eps there",
        refute=LARGE_ROWS,
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"r = 1 / xp.sqrt(variance + eps) -> r = 1 / (xp.sqrt(variance + 1e-30) + {VALUE})",
                "Saved(xhat, r, weight) -> (xhat, r, weight, 1 / (r * xp.sqrt(variance + 1e-30)))",
                "xhat, r, weight = saved -> xhat, r, weight, k = saved",
                f"{DX} -> dx = r * (g - g_mean - k * xhat * g_along)",
            )
        },
        free=Free(1e-9, 1e-1, 3e-4),
    ),
    Mistake(
        name="last_eps",
        what="eps of the last LayerNorm alone is another one than the model's",
        look="the eps given to the last LayerNorm",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=(),
        shows="*norm",
        edits={
            "head": (
                f"{LAST_NORM} -> {LAST_NORM.replace('config.eps', VALUE)}",
                f"{LAST_FC_NORM} -> {LAST_FC_NORM.replace('config.eps', VALUE)}",
            )
        },
        free=Free(1e-13, 1e-1, 3e-4),
    ),
    Mistake(
        name="scores_by_a_factor",
        what="the scale of the scores is the right one times another number",
        look="the scale of the attention: an exponent, a width, a factor",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> {VALUE} * {POWER}",)},
        free=Free(1e-2, 1e2, 1.3),
        alike=("softmax_temperature",),
    ),
    Mistake(
        name="softmax_temperature",
        what="the scores are multiplied by one number inside the softmax",
        look="a temperature in the softmax",
        refute=(
            "Divide the logarithms of `attn.softmax`, less those of their first key, by the right "
            "ones: unless the ratio is the same everywhere, this is not the cause."
        ),
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                f"{EXP} -> e = xp.exp({VALUE} * (x - xp.max(x, axis=-1, keepdims=True)))",
                f"Grads(y * ({SUM_DX})) -> Grads({VALUE} * y * ({SUM_DX}))",
            )
        },
        free=Free(1e-2, 1e2, 1.3),
        alike=("scores_by_a_factor",),
    ),
    Mistake(
        name="sigmoid_gelu",
        what="x sigmoid(a x) for another constant a than 1.702 where the model has GELU",
        look="the constant in front of x in a sigmoid form of GELU",
        refute=HAND,
        topic="QuickGELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(f"0.5 * (1 + xp.tanh(0.5 * {VALUE} * x))", f"{VALUE} * p * (1 - p)"),
        free=Free(1e-1, 1e1, 1.6),
    ),
    Mistake(
        name="gelu_cubic",
        what="another number than 0.044715 in GELU's tanh form",
        look="the constant 0.044715",
        refute=HAND,
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(TANH.replace("CUBIC", VALUE), TANH_SLOPE.replace("CUBIC", VALUE)),
        free=Free(1e-3, 1e0, 0.06),
    ),
    Mistake(
        name="activation_by_a_factor",
        what="the activation's output is multiplied by one number",
        look="a gain behind the activation, as in networks without norms",
        refute=RATIO,
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={
            "gelu": (
                f"return x * p, Saved(x, p, form) -> return {VALUE} * (x * p), Saved(x, p, form)",
                f"Grads(dy * (p + x * slope)) -> Grads({VALUE} * dy * (p + x * slope))",
            )
        },
        free=FACTOR,
    ),
    Mistake(
        name="layer_scale_by_a_factor",
        what="LayerScale's factors are multiplied by one number",
        look="a factor on LayerScale, or on both branches",
        refute=RATIO,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        edits={
            "layer_scale": (
                f"return x * gamma, Saved(x, gamma) -> return x * gamma * {VALUE}, Saved(x, gamma)",
                f"dy * gamma, xp.sum(dy * x, -> dy * gamma * {VALUE}, xp.sum({VALUE} * dy * x,",
            )
        },
        free=FACTOR,
        alike=("branches_by_a_factor",),
        alike_on="models with LayerScale",
    ),
    Mistake(
        name="branches_by_a_factor",
        what="every branch is multiplied by one number before it is added to the residual",
        look="a factor on both branches, such as (2 depth) ** -0.5 or 1 - drop_path",
        refute=(
            "Subtract the block's input from `add1`: unless the difference is the same multiple "
            "of the attention's output everywhere, this is not the cause."
        ),
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={
            "add": (
                f"return a + b, None -> return a + {VALUE} * b, None",
                f"return Grads(dy, dy) -> return Grads(dy, {VALUE} * dy)",
            )
        },
        free=FACTOR,
        alike=("layer_scale_by_a_factor",),
        alike_on="models with LayerScale",
    ),
    Mistake(
        name="logits_by_a_factor",
        what="the logits are multiplied by one number",
        look="a temperature or a logit scale behind the classifier",
        refute=RATIO,
        topic="head",
        evidence=(),
        shows="logits",
        edits={
            "head": (
                f'x = t.step("logits", identity, x) -> x = t.step("logits", identity, {VALUE} * x)',
                f'dx = t.undo("logits", dx) -> dx = {VALUE} * t.undo("logits", dx)',
            )
        },
        needs=("classes",),
        free=FACTOR,
    ),
    Mistake(
        name="loss_by_a_factor",
        what="the loss and its gradient are multiplied by one number",
        look="a weight of the loss, or a sum where a mean is meant",
        refute=RATIO,
        evidence=(),
        shows="loss",
        edits={
            "cross_entropy": (
                (
                    f"return -xp.sum(t * log_p) / x.shape[0], -> return -{VALUE} * xp.sum(t * log_p) / "
                    "x.shape[0],"
                ),
                f"(dy / p.shape[0]) -> ({VALUE} * dy / p.shape[0])",
            )
        },
        free=FACTOR,
    ),
    Mistake(
        name="gradients_by_a_factor",
        what="the loss is right, and all gradients are multiplied by one number",
        look=(
            "a loss scale of mixed precision that is not divided out, or accumulation steps that "
            "are not counted"
        ),
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={
            "cross_entropy": (f"(dy / p.shape[0]) -> ({VALUE} * dy / p.shape[0])",),
            "sigmoid_cross_entropy": (f"(dy / saved.t.shape[0]) -> ({VALUE} * dy / saved.t.shape[0])",),
        },
        free=Free(1e-6, 1e6, 1024.0),
    ),
)
