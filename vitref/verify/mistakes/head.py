"""Mistakes behind the last block: pooling, pre-logits, head and loss."""

from dataclasses import replace

import numpy as np

from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake, Tensors

TOKEN = 'x = t.step("pool", select_token, tokens, index=0)'


def pooled_by(config: Config, pool: str) -> Config:
    return replace(config, pool=pool) if config.class_token else config


def zero_head(tensors: Tensors, config: Config) -> Tensors:
    return {name: np.zeros_like(tensors[name]) for name in tensors if name.startswith("head.")}


MISTAKES = (
    Mistake(
        name="mean_with_class_token",
        what="the mean over the patches includes the class token",
        topic="pooling",
        evidence=("lucidrains/vit-pytorch#226", "huggingface/transformers#37817"),
        shows="pool",
        config=lambda config: replace(config, pool="mean_all") if config.pool == "mean" else config,
    ),
    Mistake(
        name="mean_without_class_token",
        what="the mean over all tokens leaves the class token out",
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: replace(config, pool="mean") if config.pool == "mean_all" else config,
    ),
    Mistake(
        name="mean_for_class_token",
        what="the mean over the patches is taken where the model takes the class token",
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: replace(config, pool="mean") if config.pool == "token" else config,
    ),
    Mistake(
        name="class_token_for_mean",
        what="the class token is taken where the model takes a mean",
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: pooled_by(config, "token"),
    ),
    Mistake(
        name="first_patch_for_class_token",
        what="token 1, the first patch, is taken for the class token",
        topic="number of tokens before the patches",
        evidence=("evandez/neuron-descriptions#23", "vllm-project/vllm#7153"),
        shows="pool",
        edits={"head": (f"{TOKEN} -> {TOKEN[:-2]}1)",)},
    ),
    Mistake(
        name="last_patch_for_class_token",
        what="the last token is taken for the class token",
        topic="place of the class token",
        evidence=("ggml-org/llama.cpp#25814",),
        shows="pool",
        edits={"head": (f"{TOKEN} -> {TOKEN[:-2]}tokens.shape[1] - 1)",)},
    ),
    Mistake(
        name="last_patch_dropped",
        what="the slice [:, :-1] takes the last patch for the class token and leaves it out of the mean",
        topic="place of the class token",
        evidence=("evandez/neuron-descriptions#23",),
        shows="pool",
        edits={
            "mean_pool": (
                "x[:, start:, :] -> x[:, : x.shape[1] - start, :]",
                "[xp.zeros((n, saved.start, d), dtype=dy.dtype), share] -> "
                "[share, xp.zeros((n, saved.start, d), dtype=dy.dtype)]",
            )
        },
    ),
    Mistake(
        name="pre_logits_without_tanh",
        what="the tanh of the pre-logits layer is left out",
        topic="head",
        evidence=("huggingface/pytorch-image-models#644",),
        shows="pre_logits.act",
        edits={
            "pre_logits": (
                'return t.step("act", tanh, x) -> return x',
                'dy = t.undo("act", dy) -> pass',
            )
        },
    ),
    Mistake(
        name="zero_head",
        what="the head is all zeros, as in checkpoints of pre-training, and every class gets the same logit",
        topic="head",
        evidence=("google-research/vision_transformer#252",),
        shows="head",
        tensors=zero_head,
    ),
    Mistake(
        name="loss_summed",
        what="the loss is the sum over the batch instead of the mean",
        evidence=(),
        shows="loss",
        edits={
            "cross_entropy": (
                "return -xp.sum(t * log_p) / x.shape[0], -> return -xp.sum(t * log_p),",
                "(dy / p.shape[0]) -> dy",
            )
        },
    ),
    Mistake(
        name="loss_gradient_summed",
        what="the loss is the mean over the batch, and its gradient that of the sum",
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={"cross_entropy": ("(dy / p.shape[0]) -> dy",)},
    ),
    Mistake(
        name="sigmoid_loss_averaged",
        what="the sigmoid loss is averaged over the classes instead of summed",
        evidence=(),
        shows="loss",
        edits={
            "sigmoid_cross_entropy": (
                "+ xp.log1p(e)) / x.shape[0] -> + xp.log1p(e)) / x.shape[0] / x.shape[1]",
                "(dy / saved.t.shape[0]) -> (dy / saved.t.shape[0] / saved.t.shape[1])",
            )
        },
    ),
    Mistake(
        name="tanh_slope_wrong",
        what="tanh's gradient is 1 - y instead of 1 - y^2",
        topic="gradients",
        evidence=(),
        shows="pre_logits.fc:dy",
        backward=True,
        edits={"tanh": ("1 - saved.y * saved.y -> 1 - saved.y",)},
    ),
    Mistake(
        name="token_gradient_everywhere",
        what="the gradient of the selected token is given to every token",
        topic="gradients",
        evidence=(),
        shows="tokens:dy",
        backward=True,
        edits={
            "select_token": (
                "return Grads(xp.concat([before, xp.reshape(dy, (n, 1, d)), after], axis=1)) -> "
                "return Grads(xp.broadcast_to(xp.reshape(dy, (n, 1, d)), (n, saved.tokens, d)))",
            )
        },
    ),
    Mistake(
        name="mean_gradient_not_divided",
        what="the gradient of the mean over the tokens is not divided by their number",
        topic="gradients",
        evidence=(),
        shows="tokens:dy",
        backward=True,
        edits={"mean_pool": ("xp.reshape(dy / pooled, -> xp.reshape(dy,",)},
    ),
)
