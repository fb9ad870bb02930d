"""Mistakes of LayerNorm: its eps, its statistics, its gradient, and where it stands."""

from dataclasses import replace

from vitref.verify.mistakes.mistake import Mistake

VARIANCE = "variance = xp.mean(centred * centred, axis=-1, keepdims=True)"
DX = "dx = r * (g - g_mean - xhat * g_along)"
EPS = ("mindspore-lab/mindone#225", "kornia/kornia#2786", "huggingface/candle#271")

MISTAKES = (
    Mistake(
        name="eps_1e-5",
        what="eps of every LayerNorm is 1e-5, PyTorch's default, instead of the model's",
        topic="eps of LayerNorm",
        evidence=EPS,
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-5),
    ),
    Mistake(
        name="eps_1e-12",
        what="eps of every LayerNorm is 1e-12, the default of transformers' ViT, instead of the model's",
        topic="eps of LayerNorm",
        evidence=("huggingface/transformers#18137",),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-12),
    ),
    Mistake(
        name="eps_1e-6",
        what="eps of every LayerNorm is 1e-6, timm's and Google's, instead of the model's",
        topic="eps of LayerNorm",
        evidence=("huggingface/transformers#18137",),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-6),
    ),
    Mistake(
        name="eps_1e-3",
        what="eps of every LayerNorm is 1e-3, Keras' default, instead of the model's",
        topic="eps of LayerNorm",
        evidence=("keras-team/keras-hub#642", "keras-team/keras-hub#728"),
        shows="blocks.0.norm1",
        config=lambda config: replace(config, eps=1e-3),
    ),
    Mistake(
        name="eps_outside_root",
        what="eps is added to the standard deviation instead of the variance",
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
        topic="formula of LayerNorm",
        evidence=("patrick-kidger/equinox#521",),
        shows="blocks.0.norm1",
        edits={
            "layer_norm": (
                "centred = x - xp.mean(x, axis=-1, keepdims=True) -> last_two = tuple(range(x.ndim))[-2:]\n"
                "    centred = x - xp.mean(x, axis=last_two, keepdims=True)",
                f"{VARIANCE} -> variance = xp.mean(centred * centred, axis=last_two, keepdims=True)",
                "g = dy * weight -> g, last_two = dy * weight, tuple(range(dy.ndim))[-2:]",
                "xp.mean(g, axis=-1, keepdims=True) -> xp.mean(g, axis=last_two, keepdims=True)",
                "xp.mean(g * xhat, axis=-1, -> xp.mean(g * xhat, axis=last_two,",
            )
        },
    ),
    Mistake(
        name="rms_norm",
        what="the mean is not subtracted, as in RMSNorm",
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
        name="one_pass_variance",
        what="the variance is mean(x^2) - mean(x)^2, which cancels: noticed in float32 only",
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
        name="norm_after_pooling",
        what="the last LayerNorm is applied to the mean of the tokens instead of to each token",
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
    Mistake(
        name="mean_of_g_missing",
        what="the term mean(g) is left out of LayerNorm's dx",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - xhat * g_along)",)},
    ),
    Mistake(
        name="mean_of_g_xhat_missing",
        what="the term xhat mean(g xhat) is left out of LayerNorm's dx",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = r * (g - g_mean)",)},
    ),
    Mistake(
        name="weight_missing_in_dx",
        what="LayerNorm's dx is made of dy instead of dy * weight",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": ("g = dy * weight -> g = dy",)},
    ),
    Mistake(
        name="norm_dbias_over_one_axis",
        what="LayerNorm's dbias is summed over the first axis only, as if the input had two axes",
        topic="gradients",
        evidence=("flagos-ai/FlagGems#5392",),
        shows="*norm*.bias:grad",
        backward=True,
        edits={"layer_norm": ("xp.sum(dy, axis=rows) -> xp.sum(dy, axis=0)",)},
    ),
    Mistake(
        name="norm_without_gradient",
        what="LayerNorm passes no gradient on: its dx is zero",
        topic="gradients",
        evidence=("huggingface/candle#3613", "paiml/aprender#2196"),
        shows="*:dy",
        backward=True,
        edits={"layer_norm": (f"{DX} -> dx = 0 * dy",)},
    ),
)
