"""Mistakes of the backward passes that join or end: residuals, LayerScale, pooling, loss."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import FINITE, GRADIENT_RATIO, GRADIENT_ZERO, ONE_IMAGE
from vitref.verify.mistakes.wiring import LAST, UNADD1, UNADD2, UNNORM2

TWICE = (
    "Compare the cotangent of the block's input with the sum of its two parts: if they "
    "agree, this is not the cause."
)

MISTAKES = (
    Mistake(
        name="residual_without_gradient_beside_mlp",
        what="the cotangent beside the MLP is dropped",
        look="the sum of two cotangents behind norm2 in the backward pass",
        refute=TWICE,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": ('dx = t.undo("norm2", dm, add=dx) -> dx = t.undo("norm2", dm)',)},
    ),
    Mistake(
        name="residual_without_gradient_beside_attention",
        what="the cotangent beside the attention is dropped",
        look="the sum of two cotangents behind norm1 in the backward pass",
        refute=TWICE,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{LAST} -> return t.undo("norm1", da)',)},
    ),
    Mistake(
        name="residual_gradient_twice",
        what="the cotangent beside the attention is counted twice",
        look="a cotangent beside the attention that is added in two places",
        refute=TWICE,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{LAST} -> return t.undo("norm1", da, add=dx + dx)',)},
    ),
    Mistake(
        name="residual_gradient_twice_beside_mlp",
        what="the cotangent beside the MLP is counted twice",
        look="a cotangent beside the MLP that is added in two places",
        refute=TWICE,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{UNNORM2} -> dx = t.undo("norm2", dm, add=dx + dx)',)},
    ),
    Mistake(
        name="attention_branch_without_gradient",
        what="no gradient goes through the attention of any block",
        look="detach or no_grad around the attention",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{UNADD1} -> dx, _ = t.undo("add1", dx)\n    da = None',)},
    ),
    Mistake(
        name="mlp_branch_without_gradient",
        what="no gradient goes through the MLP of any block",
        look="detach or no_grad around the MLP",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{UNADD2} -> dx, _ = t.undo("add2", dy)\n    dm = None',)},
    ),
    Mistake(
        name="block_without_gradient",
        what="no gradient leaves a block towards the one before it",
        look="detach between blocks, or checkpointing that loses the gradient of its input",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{LAST} -> t.undo("norm1", da)\n    return None',)},
    ),
    Mistake(
        name="cotangent_halved_at_sums",
        what="the cotangent of a sum is shared between its summands instead of given to both",
        look="a cotangent that is divided by the number of summands",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"add": ("return Grads(dy, dy) -> return Grads(0.5 * dy, 0.5 * dy)",)},
    ),
    Mistake(
        name="factors_missing_in_dx",
        what="LayerScale's dx lacks its factors",
        look="the backward function of LayerScale: dy where dy * gamma is meant",
        refute="Set all factors of LayerScale to 1: an error that remains has another cause.",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"layer_scale": ("return Grads(dy * gamma, -> return Grads(dy,",)},
    ),
    Mistake(
        name="layer_scale_gradient_averaged",
        what="the gradient of LayerScale's factors is that of their mean",
        look="a single factor for all channels where there is one for each",
        refute="Look for two elements of `gamma:grad` of one block that differ: one pair refutes it.",
        topic="gradients",
        evidence=(),
        shows="*.gamma:grad",
        backward=True,
        edits={
            "layer_scale": (
                "xp.sum(dy * x, axis=tuple(range(dy.ndim - 1))) -> "
                "0 * gamma + xp.mean(xp.sum(dy * x, axis=tuple(range(dy.ndim - 1))))",
            )
        },
    ),
    Mistake(
        name="layer_scale_gradient_of_one_image",
        what="the gradient of LayerScale's factors comes from the first image alone",
        look="a gradient that is overwritten for each image instead of added",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="*.gamma:grad",
        backward=True,
        edits={"layer_scale": ("xp.sum(dy * x, axis= -> xp.sum((dy * x)[:1, ...], axis=",)},
    ),
    Mistake(
        name="layer_scale_without_gradient",
        what="the factors of LayerScale get no gradient",
        look="a buffer where a parameter is meant",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.gamma:grad",
        backward=True,
        edits={"layer_scale": ("xp.sum(dy * x, axis= -> xp.sum(0 * dy * x, axis=",)},
    ),
    Mistake(
        name="last_norm_skipped_in_backward",
        what="the gradient goes past the last LayerNorm unchanged",
        look="the last LayerNorm in the backward pass",
        refute=(
            "Compare the cotangents on both sides of the last LayerNorm: if they differ, this is "
            "not the cause."
        ),
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={
            "head": (
                'dx = t.undo("norm", dx) -> t.undo("norm", dx)',
                'dx = t.undo("fc_norm", dx) -> t.undo("fc_norm", dx)',
            )
        },
    ),
    Mistake(
        name="token_gradient_everywhere",
        what="the gradient of the selected token is given to every token",
        look="a broadcast in the gradient of x[:, 0]",
        refute="Look at `tokens:dy` of any patch: zero refutes it.",
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
        look="the division by the number of tokens in the gradient of the mean",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="tokens:dy",
        backward=True,
        edits={"mean_pool": ("xp.reshape(dy / pooled, -> xp.reshape(dy,",)},
    ),
    Mistake(
        name="mean_gradient_to_class_token",
        what="the gradient of the mean over the patches reaches the class token, too",
        look="a broadcast over all tokens in the gradient of x[:, 1:].mean(dim=1)",
        refute="Look at `tokens:dy` of the class token: zero refutes it.",
        topic="gradients",
        evidence=(),
        shows="tokens:dy",
        backward=True,
        edits={
            "mean_pool": (
                (
                    "xp.concat([xp.zeros((n, saved.start, d), dtype=dy.dtype), share], axis=1) -> "
                    "xp.broadcast_to(share[:, :1, :], (n, saved.tokens, d))"
                ),
            )
        },
        needs=("class_token",),
    ),
    Mistake(
        name="loss_gradient_summed",
        what="the loss is the mean over the batch, and its gradient that of the sum",
        look="(p - t) without a division by the size of the batch, beside a loss that is a mean",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={
            "cross_entropy": ("(dy / p.shape[0]) -> dy",),
            "sigmoid_cross_entropy": ("(dy / saved.t.shape[0]) -> dy",),
        },
    ),
    Mistake(
        name="loss_gradient_averaged_twice",
        what="the gradient of the loss is divided by the size of the batch twice",
        look="a mean in the loss and a division by the batch in the training loop or in an all-reduce",
        refute=ONE_IMAGE,
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={
            "cross_entropy": ("(dy / p.shape[0]) -> (dy / p.shape[0] / p.shape[0])",),
            "sigmoid_cross_entropy": (
                "(dy / saved.t.shape[0]) -> (dy / saved.t.shape[0] / saved.t.shape[0])",
            ),
        },
    ),
    Mistake(
        name="loss_gradient_negated",
        what="the gradient of the loss has the wrong sign: t - p",
        look="t - p for p - t, or an update that adds",
        refute=FINITE,
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={
            "cross_entropy": ("(dy / p.shape[0]) -> (-dy / p.shape[0])",),
            "sigmoid_cross_entropy": ("(dy / saved.t.shape[0]) -> (-dy / saved.t.shape[0])",),
        },
    ),
    Mistake(
        name="loss_gradient_without_labels",
        what="the gradient of the loss is p instead of p - t",
        look="the subtraction of the labels from the probabilities in the backward function of the loss",
        refute="Sum `logits:dy` over the classes: sums of 0 refute it.",
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={
            "cross_entropy": ("keepdims=True) - t)) -> keepdims=True)))",),
            "sigmoid_cross_entropy": ("(saved.sigmoid - saved.t) -> saved.sigmoid",),
        },
    ),
    Mistake(
        name="loss_gradient_of_logits",
        what="the gradient of the loss is made of log p instead of p",
        look="log_softmax saved for the backward pass where softmax is meant",
        refute="Sum `logits:dy` over the classes: sums of 0 refute it.",
        topic="gradients",
        evidence=(),
        shows="logits:dy",
        backward=True,
        edits={"cross_entropy": ("p, t = saved -> p, t = xp.log(saved.p), saved.t",)},
    ),
)
