"""Mistakes behind the last block in the forward pass: pooling, pre-logits, classifier and loss."""

from dataclasses import replace

from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import EQUAL_TOKENS

TOKEN = 'x = t.step("pool", select_token, tokens, index=0)'
POOLED = "xp.mean(x[:, start:, :], axis=1), Saved(x.shape[1], start)"
SHARE = "xp.reshape(dy / pooled, (n, 1, d))"
LOGITS = 'x = t.step("logits", identity, x)'
LOSS = 'return t.step("loss", LOSSES[loss], logits, labels=labels)'
OF_SOFTMAX = 'return t.step("loss", LOSSES[loss], t.step("probabilities", softmax, logits), labels=labels)'
PROBABILITIES = "Sum the candidate's outputs over the classes: sums other than 1 refute it."
LOSS_RATIO = (
    "Divide the loss by the right one for several batches of one size: unless the ratio "
    "is the same, this is not the cause."
)


def pooled_by(config: Config, pool: str) -> Config:
    return replace(config, pool=pool) if config.class_token else config


MISTAKES = (
    Mistake(
        name="mean_with_class_token",
        what="the mean over the patches includes the class token",
        look="x.mean(dim=1) over all tokens, where x[:, 1:] is meant",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=("lucidrains/vit-pytorch#226", "huggingface/transformers#37817"),
        shows="pool",
        config=lambda config: replace(config, pool="mean_all") if config.pool == "mean" else config,
    ),
    Mistake(
        name="mean_without_class_token",
        what="the mean over all tokens leaves the class token out",
        look="x[:, 1:].mean(dim=1), where all tokens are meant",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: replace(config, pool="mean") if config.pool == "mean_all" else config,
    ),
    Mistake(
        name="mean_for_class_token",
        what="the mean over the patches is taken where the model takes the class token",
        look="global_pool='avg' or pooling='gap' in the settings",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: replace(config, pool="mean") if config.pool == "token" else config,
    ),
    Mistake(
        name="mean_of_all_for_class_token",
        what="the mean over all tokens is taken where the model takes the class token",
        look="x.mean(dim=1) in the head",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: replace(config, pool="mean_all") if config.pool == "token" else config,
    ),
    Mistake(
        name="class_token_for_mean",
        what="the class token is taken where the model takes a mean",
        look="x[:, 0] or global_pool='token' in the settings",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=(),
        shows="pool",
        config=lambda config: pooled_by(config, "token"),
    ),
    Mistake(
        name="first_patch_for_class_token",
        what="token 1, the first patch, is taken for the class token",
        look="x[:, 1], or a class token that was split off before x[:, 0]",
        refute=EQUAL_TOKENS,
        topic="number of tokens before the patches",
        evidence=("evandez/neuron-descriptions#23", "vllm-project/vllm#7153"),
        shows="pool",
        edits={"head": (f"{TOKEN} -> {TOKEN[:-2]}1)",)},
    ),
    Mistake(
        name="last_patch_for_class_token",
        what="the last token is taken for the class token",
        look="x[:, -1], as language models take it",
        refute=EQUAL_TOKENS,
        topic="place of the class token",
        evidence=("ggml-org/llama.cpp#25814",),
        shows="pool",
        edits={"head": (f"{TOKEN} -> {TOKEN[:-2]}tokens.shape[1] - 1)",)},
    ),
    Mistake(
        name="last_patch_dropped",
        what="the slice [:, :-1] takes the last patch for the class token and leaves it out of the mean",
        look="x[:, :-1] for x[:, 1:]",
        refute=EQUAL_TOKENS,
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
        name="sum_for_mean",
        what="the tokens are summed instead of averaged",
        look="x.sum(dim=1) in the head",
        refute=(
            "Divide `pool` by the right one: unless the ratio is the number of pooled tokens "
            "everywhere, this is not the cause."
        ),
        topic="pooling",
        evidence=(),
        shows="pool",
        edits={
            "mean_pool": (
                f"{POOLED} -> {POOLED.replace('xp.mean', 'xp.sum')}",
                f"{SHARE} -> xp.reshape(dy, (n, 1, d))",
            )
        },
    ),
    Mistake(
        name="mean_over_all_places",
        what="the sum over the patches is divided by the number of all tokens, the class token included",
        look="a sum over x[:, 1:] divided by x.shape[1], or a masked mean with the wrong count",
        refute=(
            "Divide `pool` by the right one: unless the ratio is (T - 1) / T everywhere, this is "
            "not the cause."
        ),
        topic="pooling",
        evidence=(),
        shows="pool",
        edits={
            "mean_pool": (
                (
                    f"{POOLED} -> "
                    f"{POOLED.replace('xp.mean', 'xp.sum').replace('axis=1)', 'axis=1) / x.shape[1]')}"
                ),
                f"{SHARE} -> xp.reshape(dy / saved.tokens, (n, 1, d))",
            )
        },
        needs=("class_token",),
    ),
    Mistake(
        name="maximum_for_mean",
        what="the largest value over the tokens is taken, channel by channel, instead of the mean",
        look="amax, max or AdaptiveMaxPool in the head, timm's global_pool='max'",
        refute=EQUAL_TOKENS,
        topic="pooling",
        evidence=(),
        shows="pool",
        edits={
            "mean_pool": (
                (
                    f"return {POOLED} -> y = xp.max(x[:, start:, :], axis=1)\n    n, t, d = x.shape\n    "
                    "largest = xp.astype(x == xp.reshape(y, (n, 1, d)), x.dtype)\n    largest = largest * "
                    "xp.reshape(xp.astype(xp.arange(t) >= start, x.dtype), (1, t, 1))\n    return y, "
                    "largest"
                ),
                "pooled = saved.tokens - saved.start -> return Grads(saved * xp.reshape(dy, (n, 1, d)))",
                (
                    "    share = xp.broadcast_to(xp.reshape(dy / pooled, (n, 1, d)), (n, pooled, d))\n    "
                    "return Grads(xp.concat([xp.zeros((n, saved.start, d), dtype=dy.dtype), share], "
                    "axis=1)) -> "
                ),
            )
        },
    ),
    Mistake(
        name="pre_logits_skipped",
        what="the pre-logits layer, linear and tanh, is left out",
        look="a representation layer or pooler whose names the loader drops, with a head of the same width",
        refute="Compare `head_input` with `pool`, or `fc_norm`: if they differ, the layer is there.",
        topic="head",
        evidence=("huggingface/pytorch-image-models#644",),
        shows="pre_logits*",
        edits={
            "head": (
                'x = t.step("pre_logits", pre_logits, x) -> pass',
                'dx = t.undo("pre_logits", dx) -> pass',
            )
        },
        needs=("pre_logits",),
    ),
    Mistake(
        name="pre_logits_without_tanh",
        what="the tanh of the pre-logits layer is left out",
        look="a pooler or representation layer that is linear only",
        refute="Compare `head_input` with `pre_logits.fc`: if they differ, something stands between.",
        topic="head",
        evidence=("huggingface/pytorch-image-models#644",),
        shows="pre_logits.act",
        edits={
            "pre_logits": (
                'return t.step("act", tanh, x) -> return x',
                'dy = t.undo("act", dy) -> pass',
            )
        },
        needs=("pre_logits",),
    ),
    Mistake(
        name="logits_softmaxed",
        what="the outputs are probabilities instead of logits",
        look="a softmax at the end of forward, as in models made for inference",
        refute=PROBABILITIES,
        evidence=(),
        shows="logits",
        edits={
            "head": (
                f"{LOGITS} -> {LOGITS.replace('identity', 'softmax')}",
                "select_token\n -> select_token, softmax\n",
            )
        },
        needs=("classes",),
    ),
    Mistake(
        name="logits_in_tanh",
        what="a tanh stands behind the classifier",
        look="an activation behind the head, or a pooler's tanh in the wrong place",
        refute="Look at `logits`: an element of more than 1 in size refutes it.",
        evidence=(),
        shows="logits",
        edits={
            "head": (
                f"{LOGITS} -> {LOGITS.replace('identity', 'tanh')}",
                "select_token\n -> select_token, tanh\n",
            )
        },
        needs=("classes",),
    ),
    Mistake(
        name="loss_summed",
        what="the loss is the sum over the batch instead of the mean",
        look="reduction='sum', or a loop that adds and never divides",
        refute=LOSS_RATIO,
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
        name="loss_averaged_over_classes",
        what=(
            "the loss is the mean over images and classes, so that it is divided by the number of "
            "classes, too"
        ),
        look="mean() over all elements of -t log p, or a KL divergence with reduction='mean'",
        refute=LOSS_RATIO,
        evidence=(),
        shows="loss",
        edits={
            "cross_entropy": (
                (
                    "return -xp.sum(t * log_p) / x.shape[0], -> return -xp.sum(t * log_p) / x.shape[0] / "
                    "x.shape[1],"
                ),
                "(dy / p.shape[0]) -> (dy / p.shape[0] / p.shape[1])",
            )
        },
    ),
    Mistake(
        name="loss_of_probabilities",
        what="the cross-entropy, which applies a softmax itself, is given probabilities",
        look="a softmax in the model and torch.nn.CrossEntropyLoss, or from_logits=False",
        refute="Feed logits that differ by 100: a loss that comes near 0 for the right class refutes it.",
        evidence=(),
        shows="loss",
        edits={
            "supervised": (
                f"{LOSS} -> {OF_SOFTMAX}",
                'dlogits = t.undo("loss", dy) -> dlogits = t.undo("probabilities", t.undo("loss", dy))',
                (
                    "import cross_entropy, sigmoid_cross_entropy -> import cross_entropy, "
                    "sigmoid_cross_entropy, softmax"
                ),
            )
        },
    ),
    Mistake(
        name="loss_in_bits",
        what="the loss is in bits: the logarithm is that of base 2",
        look="log2 in the loss",
        refute=LOSS_RATIO,
        evidence=(),
        shows="loss",
        edits={
            "cross_entropy": (
                (
                    "return -xp.sum(t * log_p) / x.shape[0], -> return -xp.sum(t * log_p) / x.shape[0] / "
                    "0.6931471805599453,"
                ),
                "(dy / p.shape[0]) -> (dy / p.shape[0] / 0.6931471805599453)",
            )
        },
    ),
    Mistake(
        name="labels_smoothed",
        what="the labels are smoothed by 0.1",
        look="label_smoothing=0.1 in the loss, a default of training recipes",
        refute=(
            "Feed logits that are all equal: the loss is then the same with and without, so an "
            "error there refutes it."
        ),
        evidence=(),
        shows="loss",
        edits={
            "cross_entropy": (
                (
                    "t = targets(x, labels, xp=xp)\n -> t = 0.9 * targets(x, labels, xp=xp) + 0.1 / "
                    "x.shape[1]\n"
                ),
            )
        },
    ),
    Mistake(
        name="sigmoid_loss_averaged",
        what="the sigmoid loss is averaged over the classes instead of summed",
        look="binary_cross_entropy with reduction='mean', where big_vision sums over the classes",
        refute=LOSS_RATIO,
        evidence=(),
        shows="loss",
        edits={
            "sigmoid_cross_entropy": (
                "+ xp.log1p(e)) / x.shape[0] -> + xp.log1p(e)) / x.shape[0] / x.shape[1]",
                "(dy / saved.t.shape[0]) -> (dy / saved.t.shape[0] / saved.t.shape[1])",
            )
        },
    ),
)
