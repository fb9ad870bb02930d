"""What is differentiated in a backward pass: a loss of the logits, or given cotangents of outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.capture.hosts import from_any
from vitref.verify.capture.naming import final_tap

Loss: TypeAlias = str | Callable[[Any, Any], Any]
"""The name of a loss, or a function (what the model returns, labels) -> a tensor without axes."""

LOSSES = ("cross_entropy", "sigmoid")


@dataclass(frozen=True)
class Objective:
    """Labels and the loss of them, or tap -> cotangent, or neither: no backward pass.

    config  of the reference, where it is known: it says which taps hold the same array
    """

    labels: HostArray | None
    cotangents: Mapping[str, HostArray]
    loss: Loss
    config: Config | None

    @property
    def is_backward(self) -> bool:
        return self.labels is not None or bool(self.cotangents)

    @property
    def starts(self) -> tuple[str, ...]:
        """The taps at which a backward pass may begin."""
        return ("logits",) if self.labels is not None else tuple(self.cotangents)

    @property
    def inputs(self) -> dict[str, HostArray]:
        """What a capture stores of it, as `input.NAME`."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return labels | {f"cotangent.{tap}": array for tap, array in self.cotangents.items()}

    @property
    def title(self) -> str | None:
        """The name of the loss; None without one."""
        if self.labels is None:
            return None
        return self.loss if isinstance(self.loss, str) else "given"


def asked(labels: Any, cotangent: Any, config: Config | None, loss: Loss = LOSSES[0]) -> Objective:
    """The objective, checked as far as it can be before the model ran.

    labels     integers (N,) or probabilities (N, classes)
    cotangent  instead of labels: an array for the final output, or {tap: array}

    Raises ConfigError when both are given, or one is of no use.
    """
    if labels is not None and cotangent is not None:
        raise ConfigError(
            "labels, cotangent", found="both", expected="at most one of them", remedy="Leave one out."
        )
    if not callable(loss) and loss not in LOSSES:
        raise ConfigError(
            "loss",
            found=repr(loss),
            expected=f"one of {', '.join(LOSSES)}, or a function of the output and the labels",
            remedy="Give one of these.",
        )
    targets = None if labels is None else np.atleast_1d(from_any("labels", labels))
    return Objective(targets, _cotangents(cotangent, config), loss, config)


def _cotangents(cotangent: Any, config: Config | None) -> dict[str, HostArray]:
    if cotangent is None:
        return {}
    given = cotangent if isinstance(cotangent, Mapping) else {final_tap(config): cotangent}
    return {tap: from_any(f"cotangent[{tap!r}]", array) for tap, array in given.items()}


def same_as(tap: str, config: Config | None) -> tuple[str, ...]:
    """The taps that hold the same array in evaluation, `tap` itself first."""
    classes = [("logits", "head"), ("tokens", _last(config)), ("pooled", "head_input", *_pooling(config))]
    return (tap, *(other for same in classes if tap in same for other in same if other != tap))


def _last(config: Config | None) -> str:
    """The tap that ends the encoder."""
    return "norm" if config is None or config.final_norm == "tokens" else f"blocks.{config.depth - 1}"


def _pooling(config: Config | None) -> tuple[str, ...]:
    """The taps of the last step between pooling and head."""
    if config is None:
        return ()
    if config.pre_logits:
        return "pre_logits", "pre_logits.act"
    return ("fc_norm",) if config.final_norm == "pooled" else ("pool",)
