"""What a backward pass begins with, labels or cotangents: checked on both sides before anything is judged."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.call import known
from vitref.errors import ConfigError
from vitref.labels import ROUNDING
from vitref.verify.evaluate import Model
from vitref.verify.precision import UNIT

START = "cotangent."


def require(model: Model, taps: Iterable[str]) -> None:
    """Raise ConfigError for taps of a backward pass that the reference does not have."""
    first = next((tap for tap in taps if tap.endswith((":dy", ":grad")) or tap == "loss"), None)
    if first is not None and not model.differentiates:
        raise ConfigError(
            "labels, cotangent",
            found=f"{first} in the candidate, and a reference without a backward pass",
            expected="the labels of the loss, or the cotangent that the backward pass began with",
            remedy="Give labels= (--labels) or cotangent=, or a trace that was recorded with one of them.",
        )


def check_cotangents(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ConfigError for cotangents of the reference that are of no output, misshapen, or not finite.

    shapes  output -> its shape
    """
    known("cotangent", model.cotangents, shapes)
    for name, array in model.cotangents.items():
        if array.shape != shapes[name] or not np.isfinite(array).all():
            raise ConfigError(
                f"cotangent[{name!r}]",
                found=f"shape {array.shape}" if array.shape != shapes[name] else "values that are not finite",
                expected=f"finite numbers of shape {shapes[name]}, as the output",
                remedy="Give an array of that shape, batch axis included.",
            )


def check_candidate(model: Model, given: Mapping[str, HostArray]) -> None:
    """Raise ConfigError for a candidate whose own labels or cotangents are not those of the reference.

    given  what the candidate's file has as `input.NAME`
    """
    labels = given.get("labels") if model.labels is not None else None
    if labels is not None and not _same_labels(np.asarray(labels), model.labels, model.config.classes):
        raise _others("labels", "labels")
    starts = [name for name in given if name.startswith(START)] if model.differentiates else []
    for name in starts:
        own, theirs = model.cotangents.get(name.removeprefix(START)), np.asarray(given[name], np.float64)
        if own is None or own.shape != theirs.shape or not _same(theirs, own):
            raise _others(name, "cotangents")


def _same_labels(theirs: HostArray, own: Any, classes: int) -> bool:
    theirs, own = _rows(theirs, classes), _rows(own, classes)
    return theirs.shape == own.shape and bool(np.allclose(theirs, own, rtol=0, atol=ROUNDING))


def _rows(labels: HostArray, classes: int) -> HostArray:
    """Labels as one row per image: integers (N,) as ones and zeros."""
    rows: HostArray = np.atleast_1d(labels)
    if rows.ndim == 1:
        rows = rows[:, None] == np.arange(classes)
    return rows.astype(np.float64)


def _same(theirs: HostArray, own: HostArray) -> bool:
    """Whether they are the same, at most rounded."""
    return float(np.linalg.norm(theirs - own)) <= 2 * UNIT["bfloat16"] * float(np.linalg.norm(own))


def _others(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"input.{name}",
        found=f"other {what} in the candidate",
        expected="those of the reference, at most rounded",
        remedy=f"Compute both with the same {what}.",
    )
