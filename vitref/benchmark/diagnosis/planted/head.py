"""Planted behind the last block: pooling, the representation layer, the head, the loss."""

from typing import Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch
from vitref.config import Config


def pooled(function: Any) -> Any:
    """`function(tokens)` in place of the pooling."""
    return lambda m, at, tokens: function(pieces.widen(tokens)).to(tokens.dtype)


def bug(name: str, what: str, first: str, change: Change, **rest: Any) -> Bug:
    return Bug(name=name, what=what, first=first, changes=(change,), **rest)


def pool(name: str, what: str, function: Any, **rest: Any) -> Bug:
    return bug(name, what, "pool", Change("pool", pooled(function)), **rest)


def classifier(name: str, what: str, function: Any, **rest: Any) -> Bug:
    """`function(logits)` behind the head."""
    wrong = Change("logits", lambda m, at, x: function(x))
    return bug(name, what, "logits", wrong, **rest)


def token(c: Config) -> bool:
    return c.pool == "token"


def mean(c: Config) -> bool:
    return c.pool == "mean" and c.class_token


def smoothed(m: Any, at: str, logits: Any) -> Any:
    """With a tenth of the labels spread over all classes."""
    wide = pieces.widen(logits)
    spread = torch.logsumexp(wide, -1) - wide.mean(-1)
    return (0.9 * pieces.chosen(m, logits) + 0.1 * spread).mean()


MEAN: dict[str, Any] = {"model": "mean", "needs": mean}
ALL: dict[str, Any] = {"model": "all", "needs": lambda c: c.pool == "mean_all" and c.class_token}
DENSE: dict[str, Any] = {"model": "all", "needs": lambda c: c.pre_logits > 0}

BUGS = (
    pool(
        "mean_of_patches",
        "takes the mean of the patches for the class token",
        lambda x: x[:, 1:].mean(1),
        needs=token,
    ),
    pool("mean_of_all", "takes the mean of all tokens for the class token", lambda x: x.mean(1), needs=token),
    pool("second_token", "reads the second token", lambda x: x[:, 1], needs=token),
    pool("last_token", "reads the last token", lambda x: x[:, -1], needs=token),
    pool(
        "token_and_mean",
        "averages the class token and the mean of the patches",
        lambda x: (x[:, 0] + x[:, 1:].mean(1)) / 2,
        needs=token,
    ),
    pool("class_token_pooled", "averages over the class token, too", lambda x: x.mean(1), **MEAN),
    pool("class_token_for_the_mean", "reads the class token in place of the mean", lambda x: x[:, 0], **MEAN),
    pool(
        "last_patch_forgotten", "averages over all patches but the last", lambda x: x[:, 1:-1].mean(1), **MEAN
    ),
    pool("two_tokens_skipped", "averages from the second patch on", lambda x: x[:, 2:].mean(1), **MEAN),
    pool("sum_of_patches", "adds the patches up", lambda x: x[:, 1:].sum(1), **MEAN),
    pool(
        "divided_by_all",
        "divides the sum of the patches by the number of tokens",
        lambda x: x[:, 1:].sum(1) / x.shape[1],
        **MEAN,
    ),
    pool("largest", "takes the largest value of every channel", lambda x: x[:, 1:].amax(1), **MEAN),
    pool("median", "takes the median of every channel", lambda x: x[:, 1:].median(1).values, **MEAN),
    pool("class_token_left_out", "averages over the patches alone", lambda x: x[:, 1:].mean(1), **ALL),
    bug(
        "dense_without_tanh",
        "has no tanh behind the representation layer",
        "pre_logits.act",
        Change("tanh", lambda m, at, x: x),
        **DENSE,
    ),
    bug(
        "dense_with_gelu",
        "has GELU for the tanh behind the representation layer",
        "pre_logits.act",
        Change("tanh", lambda m, at, x: pieces.gelu(pieces.widen(x)).to(x.dtype)),
        **DENSE,
    ),
    bug(
        "dense_with_rectifier",
        "has max(x, -x / 4) for the tanh behind the representation layer",
        "pre_logits.act",
        Change("tanh", lambda m, at, x: torch.maximum(x, -x / 4)),
        **DENSE,
    ),
    classifier(
        "probabilities",
        "returns probabilities for logits",
        lambda y: pieces.over(pieces.widen(y), -1).to(y.dtype),
    ),
    classifier("logits_centred", "subtracts the mean of the logits", lambda y: y - y.mean(-1, keepdim=True)),
    classifier("logits_cooled", "divides the logits by 1.3", lambda y: y / 1.3),
    bug(
        "loss_added_up",
        "adds the losses of the images up",
        "loss",
        Change("loss", lambda m, at, y: pieces.chosen(m, y).sum()),
        hidden=("taps", "blocks", "logits"),
        because="the loss stands behind them",
    ),
    bug(
        "loss_smoothed",
        "smooths the labels by a tenth",
        "loss",
        Change("loss", smoothed),
        hidden=("taps", "blocks", "logits"),
        because="the loss stands behind them",
    ),
)
