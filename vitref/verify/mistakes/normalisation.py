"""Mistakes of LayerNorm: its eps, its statistics, its parameters, and the last one of the model."""

from dataclasses import replace

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import LARGE_ROWS

VARIANCE = "variance = xp.mean(centred * centred, axis=-1, keepdims=True)"
MEAN = "centred = x - xp.mean(x, axis=-1, keepdims=True)"
ROOT = "r = 1 / xp.sqrt(variance + eps)"
OUTPUT = "return xhat * weight + bias, Saved(xhat, r, weight)"
DX = "dx = r * (g - g_mean - xhat * g_along)"
EPS = ("mindspore-lab/mindone#225", "kornia/kornia#2786", "huggingface/candle#271")
LAST_NORM, LAST_FC_NORM = (f't.step("{name}", layer_norm, x, eps=config.eps)' for name in ("norm", "fc_norm"))
LAST = ("H-EmbodVis/TurboVLA#6", "mlc-ai/mlc-llm#3205", "vllm-project/vllm#8155")
TOKEN_MEAN = (
    "Feed tokens that are all alike: statistics over tokens then leave zero, so an output "
    "other than the bias refutes it."
)


def over(axis: str) -> dict[str, tuple[str, ...]]:
    """Statistics over another axis, a right pair."""
    return {
        "layer_norm": (
            f"{MEAN} -> axis = {axis}\n    {MEAN.replace('axis=-1', 'axis=axis')}",
            f"{VARIANCE} -> {VARIANCE.replace('axis=-1', 'axis=axis')}",
            f"g = dy * weight -> g, axis = dy * weight, {axis.replace('x.', 'dy.')}",
            "xp.mean(g, axis=-1, keepdims=True) -> xp.mean(g, axis=axis, keepdims=True)",
            "xp.mean(g * xhat, axis=-1, -> xp.mean(g * xhat, axis=axis,",
        )
    }


def eps_of_last(eps: str) -> dict[str, tuple[str, ...]]:
    return {
        "head": (
            f"{LAST_NORM} -> {LAST_NORM.replace('config.eps', eps)}",
            f"{LAST_FC_NORM} -> {LAST_FC_NORM.replace('config.eps', eps)}",
        )
    }


MISTAKES = (
    Mistake(
        name="eps_1e-5",
        what="eps of every LayerNorm is 1e-5, PyTorch's default, instead of the model's",
        look="the eps given to LayerNorm; 1e-5 is the default of torch.nn.LayerNorm",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=EPS,
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-5),
    ),
    Mistake(
        name="eps_1e-12",
        what="eps of every LayerNorm is 1e-12, the default of transformers' ViT, instead of the model's",
        look="layer_norm_eps=1e-12, the default of transformers' ViT, DeiT, MAE and BEiT",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=("huggingface/transformers#18137",),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-12),
    ),
    Mistake(
        name="eps_1e-6",
        what="eps of every LayerNorm is 1e-6, timm's and Google's, instead of the model's",
        look="the eps given to LayerNorm; timm, torchvision, Flax and DINOv2 have 1e-6",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=("huggingface/transformers#18137",),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-6),
    ),
    Mistake(
        name="eps_1e-3",
        what="eps of every LayerNorm is 1e-3, Keras' default, instead of the model's",
        look="the eps given to LayerNorm; 1e-3 is Keras' default",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=("keras-team/keras-hub#642", "keras-team/keras-hub#728"),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-3),
    ),
    Mistake(
        name="eps_1e-7",
        what="eps of every LayerNorm is 1e-7, MindSpore's default, instead of the model's",
        look="the eps given to LayerNorm; 1e-7 is MindSpore's default",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=("mindspore-lab/mindone#225",),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-7),
    ),
    Mistake(
        name="last_eps_1e-5",
        what="eps of the last LayerNorm alone is 1e-5, instead of the model's",
        look="the last LayerNorm created apart from the others, with torch's default",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=(),
        shows="*norm",
        edits=eps_of_last("1e-5"),
    ),
    Mistake(
        name="last_eps_1e-6",
        what="eps of the last LayerNorm alone is 1e-6, instead of the model's",
        look="the last LayerNorm created apart from the others",
        refute=LARGE_ROWS,
        topic="eps of LayerNorm",
        evidence=(),
        shows="*norm",
        edits=eps_of_last("1e-6"),
    ),
    Mistake(
        name="eps_outside_root",
        what="eps is added to the standard deviation instead of the variance",
        look="x / (std + eps), or eps added after sqrt",
        refute=LARGE_ROWS,
        topic="formula of LayerNorm",
        evidence=("codertimo/BERT-pytorch#30", "hyunwoongko/transformer#7", "hkproj/pytorch-transformer#31"),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                "r = 1 / xp.sqrt(variance + eps) -> r = 1 / (xp.sqrt(variance + 1e-30) + eps)",
                "Saved(xhat, r, weight) -> (xhat, r, weight, 1 / (r * xp.sqrt(variance + 1e-30)))",
                "xhat, r, weight = saved -> xhat, r, weight, k = saved",
                f"{DX} -> dx = r * (g - g_mean - k * xhat * g_along)",
            )
        },
    ),
    Mistake(
        name="bessel",
        what="the variance is divided by C - 1 instead of C",
        look="torch's std() and var() without unbiased=False (correction=0)",
        refute=(
            "Divide the outputs without bias by the right ones: unless the ratio is sqrt((D - 1) "
            "/ D) for every token, this is not the cause."
        ),
        topic="formula of LayerNorm",
        evidence=("harvardnlp/annotated-transformer#119", "harvardnlp/annotated-transformer#122"),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"{VARIANCE} -> {VARIANCE} * x.shape[-1] / max(x.shape[-1] - 1, 1)",
                f"{DX} -> dx = r * (g - g_mean - xhat * g_along * dy.shape[-1] / max(dy.shape[-1] - 1, 1))",
            )
        },
    ),
    Mistake(
        name="joint_statistics",
        what="mean and variance are taken over tokens and channels together",
        look="LayerNorm over two axes (normalized_shape=(T, D)), or GroupNorm with one group",
        refute=(
            "Change one token of the input: if the LayerNorm's output changes for no other token, "
            "this is not the cause."
        ),
        topic="formula of LayerNorm",
        evidence=("patrick-kidger/equinox#521",),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                "centred = x - xp.mean(x, axis=-1, keepdims=True) -> last_two = "
                "tuple(range(x.ndim))[-2:]\n"
                "    centred = x - xp.mean(x, axis=last_two, keepdims=True)",
                f"{VARIANCE} -> variance = xp.mean(centred * centred, axis=last_two, keepdims=True)",
                "g = dy * weight -> g, last_two = dy * weight, tuple(range(dy.ndim))[-2:]",
                "xp.mean(g, axis=-1, keepdims=True) -> xp.mean(g, axis=last_two, keepdims=True)",
                "xp.mean(g * xhat, axis=-1, -> xp.mean(g * xhat, axis=last_two,",
            )
        },
    ),
    Mistake(
        name="statistics_over_tokens",
        what="mean and variance are taken over the tokens, for each channel",
        look="an axis counted from the front for another layout, or InstanceNorm over (N, D, T)",
        refute=TOKEN_MEAN,
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits=over("max(-2, -x.ndim)"),
    ),
    Mistake(
        name="statistics_over_the_batch",
        what="mean and variance are taken over the images of the batch, for each token and channel",
        look="BatchNorm in training mode, or axis=0",
        refute=(
            "Change one image of the batch: if the LayerNorm's output changes for no other image, "
            "this is not the cause."
        ),
        topic="batch axis",
        evidence=(),
        shows="blocks.0.norm1",
        edits=over("0"),
    ),
    Mistake(
        name="rms_norm",
        what="the mean is not subtracted, as in RMSNorm",
        look="RMSNorm, or a mean that is computed and not subtracted",
        refute=(
            "Add one number to all channels of a token: if the LayerNorm's output does not "
            "change, this is not the cause."
        ),
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                "centred = x - xp.mean(x, axis=-1, keepdims=True) -> centred = x",
                f"{DX} -> dx = r * (g - xhat * g_along)",
            )
        },
    ),
    Mistake(
        name="mean_of_squares",
        what=(
            "the mean is subtracted, and divided is by the root mean square of the input, not of what is left"
        ),
        look="a variance computed from x instead of x - mean",
        refute=(
            "Add one number to all channels of a token: if the LayerNorm's output does not "
            "change, this is not the cause."
        ),
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"{VARIANCE} -> variance = xp.mean(x * x, axis=-1, keepdims=True)",
                f"{OUTPUT} -> {OUTPUT.replace('(xhat, r, weight)', '(xhat, r, (weight, x * r))')}",
                "xhat, r, weight = saved -> xhat, r, (weight, scaled) = saved",
                f"{DX} -> dx = r * (g - g_mean - scaled * g_along)",
            )
        },
    ),
    Mistake(
        name="variance_for_deviation",
        what="what is left of the input is divided by its variance, not by the root of it",
        look="a missing sqrt, or rsqrt where the input is squared",
        refute="Multiply a token by 10: a LayerNorm's output that stays as it is refutes it.",
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"{ROOT} -> r = 1 / (variance + eps)",
                f"{OUTPUT} -> {OUTPUT.replace('(xhat, r, weight)', '(xhat, r, (weight, centred))')}",
                "xhat, r, weight = saved -> xhat, r, (weight, centred) = saved",
                f"{DX} -> dx = r * (g - g_mean - 2 * centred * g_along)",
            )
        },
    ),
    Mistake(
        name="sum_for_variance",
        what="the sum of squares stands for the variance, as in a division by the norm of the vector",
        look="torch.nn.functional.normalize, or a sum where the variance has a mean",
        refute=(
            "Divide the outputs without bias by the right ones: unless the ratio is sqrt(1 / D) "
            "for every token, this is not the cause."
        ),
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"{VARIANCE} -> variance = xp.sum(centred * centred, axis=-1, keepdims=True)",
                "g_along = xp.mean(g * xhat, -> g_along = xp.sum(g * xhat,",
            )
        },
    ),
    Mistake(
        name="norm_weight_plus_one",
        what="the LayerNorms multiply by 1 + weight, for a weight that is stored around 1",
        look="(1 + weight) in the norm, as in Gemma's and some kernels, whose weights are stored around 0",
        refute=(
            "Set the LayerNorm's weight to 0 in the candidate: an output that is the bias alone refutes it."
        ),
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={"layer_norm": (f"{OUTPUT} -> weight = 1 + weight\n    {OUTPUT}",)},
    ),
    Mistake(
        name="norm_bias_inside",
        what="the bias is added before the multiplication by the weight",
        look="(xhat + bias) * weight",
        refute="Set the LayerNorm's weight to 1 in both programs: an error that remains has another cause.",
        topic="formula of LayerNorm",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                f"{OUTPUT} -> return (xhat + bias) * weight, Saved(xhat, r, (weight, bias))",
                "xhat, r, weight = saved -> xhat, r, (weight, bias) = saved",
                (
                    "xp.sum(dy * xhat, axis=rows), xp.sum(dy, axis=rows) -> xp.sum(dy * (xhat + bias), "
                    "axis=rows), xp.sum(dy * weight, axis=rows)"
                ),
            )
        },
    ),
    Mistake(
        name="one_pass_variance",
        what="the variance is mean(x^2) - mean(x)^2, which cancels: noticed in float32 only",
        look="mean(x * x) - mean(x) ** 2 in float32, or var computed from two running sums",
        refute=(
            "Subtract the mean of each token before the LayerNorm: if the error stays as large, "
            "this is not the cause."
        ),
        topic="precision",
        evidence=(),
        shows="*",
        edits={
            "layer_norm": (
                f"{VARIANCE} -> variance = xp.mean(x * x, axis=-1, keepdims=True)"
                " - xp.mean(x, axis=-1, keepdims=True) ** 2",
            )
        },
    ),
    Mistake(
        name="final_norm_missing",
        what="the last LayerNorm is never applied",
        look="hidden_states[-1] for last_hidden_state, or a last norm that is created and never called",
        refute=(
            "Compare the features that enter the head or the pooling with the last block's "
            "output: if they differ, something stands between."
        ),
        topic="last LayerNorm",
        evidence=("H-EmbodVis/TurboVLA#6", "mlc-ai/mlc-llm#3205", "vllm-project/vllm#8155"),
        shows="*norm",
        edits={
            "head": (
                'x = t.step("norm", layer_norm, x, eps=config.eps) -> pass',
                'dx = t.undo("norm", dx) -> pass',
                'x = t.step("fc_norm", layer_norm, x, eps=config.eps) -> pass',
                'dx = t.undo("fc_norm", dx) -> pass',
            ),
        },
    ),
    Mistake(
        name="final_norm_twice",
        what="the last LayerNorm is applied twice",
        look="features taken after the last norm and sent through it again, as when a wrapper has its own",
        refute=(
            "Set the last LayerNorm's weight to 1 and bias to 0 in both programs: a second one "
            "then changes almost nothing, so an error that remains has another cause."
        ),
        topic="last LayerNorm",
        evidence=(),
        shows="*norm",
        edits={
            "head": (
                f"{LAST_NORM} -> {LAST_NORM.replace('layer_norm', 'twice')}",
                f"{LAST_FC_NORM} -> {LAST_FC_NORM.replace('layer_norm', 'twice')}",
                (
                    "from vitref.graph import pre_logits -> from vitref.graph import pre_logits\nfrom "
                    "vitref.verify.mistakes import twice"
                ),
            )
        },
    ),
    Mistake(
        name="norm_after_pooling",
        what="the last LayerNorm is applied to the mean of the tokens instead of to each token",
        look="fc_norm for norm: which of the two the model has depends on how it pools",
        refute=(
            "Feed an image whose tokens are all alike behind the last block: the two orders then "
            "agree, so an error that remains has another cause."
        ),
        topic="last LayerNorm",
        evidence=("huggingface/pytorch-image-models#2473", "lucidrains/vit-pytorch#274"),
        shows="norm",
        edits={
            "head": (
                'if config.final_norm == "tokens":\n'
                '        x = t.step("norm", layer_norm, x, eps=config.eps) -> pass',
                'if config.final_norm == "tokens":\n        dx = t.undo("norm", dx) -> pass',
                'x = t.step("pool", mean_pool, tokens, start=start) -> '
                'x = t.step("pool", mean_pool, tokens, start=start)\n'
                '    if config.final_norm == "tokens":\n'
                '        x = t.step("norm", layer_norm, x, eps=config.eps)',
                'dx = t.undo("pool", dx) -> if config.final_norm == "tokens":\n'
                '        dx = t.undo("norm", dx)\n'
                '    dx = t.undo("pool", dx)',
            ),
        },
    ),
)
