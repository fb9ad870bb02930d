"""The suite in 16 bits: what computes in float32 and rounds its results passes, anything worse does not."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitref.array import NUMPY, HostArray
from vitref.backends.interface import Backend
from vitref.testing import suite
from vitref.testing.problem import Case, problem
from vitref.testing.shapes import Arguments, Labels
from vitref.testing.structure import apply

BACKEND = Backend(
    name="16 bits",
    xp=NUMPY,
    from_host=lambda array, dtype: array.astype(dtype),
    to_host=lambda array: np.asarray(array),
    dtypes=("bfloat16", "float16"),
)
NAMES = ("cross_entropy", "dropout", "layer_norm", "scores", "split_heads")


def widened(name: str, scale: float = 1.0, loss_dtype: Any = np.float32) -> SimpleNamespace:
    """The component in float32 on arrays of 16 bits; losses and their cotangents are float32."""
    part = importlib.import_module(f"vitref.components.{name}")

    def wide(values: Any) -> Any:
        return apply(lambda x: x if x.dtype.kind in "iu" else x.astype(np.float32), values)

    def forward(*arrays: Any, xp: Any, ws: Any, keep: bool, **static: Any) -> Any:
        y, saved = part.forward(*wide(arrays), **wide(static))
        dtype = loss_dtype if "labels" in static else arrays[0].dtype
        return apply(lambda x: np.asarray(x, dtype), y), (saved, arrays[0].dtype)

    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
        grads = tuple(part.backward(wide(dy), saved[0]))
        return apply(lambda x: (x * np.float32(scale)).astype(saved[1]), grads)

    declared = {"HIDES": (), "ADDS": False, "refuses": lambda *inputs, **static: None}
    return SimpleNamespace(**declared, PARAMS=part.PARAMS, forward=forward, backward=backward)


@pytest.mark.parametrize("check", [*sorted(suite.CHECKS.keys() - {"refusals"}), *suite.KERNEL_CHECKS])
@pytest.mark.parametrize("name", NAMES)
def test_results_rounded_to_16_bits_pass(name: str, check: str) -> None:
    suite.verify(name, check, BACKEND, part=widened(name), share=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_no_rounding_is_noticed(name: str) -> None:
    with pytest.raises(AssertionError, match="is off by"):
        suite.verify(name, "precision", BACKEND, part=widened(name, scale=1.5), share=0.2)


def test_a_loss_of_16_bits_is_noticed() -> None:
    part = widened("cross_entropy", loss_dtype="bfloat16")
    with pytest.raises(AssertionError, match="y is bfloat16, expected float32"):
        suite.verify("cross_entropy", "shapes_and_dtypes", BACKEND, part=part, share=0.1)


def test_what_float16_cannot_hold_is_not_asked() -> None:
    """Queries and keys of 1000 have scores of a million."""
    scores = importlib.import_module("vitref.components.scores")
    arguments = Arguments({"q": (2, 3), "k": (2, 3)})
    for dtype, held in (("float16", False), ("bfloat16", True), ("float32", True)):
        posed = problem(Case("scores", arguments, "offset", "contiguous", dtype, seed=0), scores)
        assert posed.in_range() == held


def test_labels_and_cotangents_of_a_loss_are_float32() -> None:
    part = importlib.import_module("vitref.components.cross_entropy")
    arguments = Arguments({"x": (2, 3)}, {"labels": Labels("weights", 2, 3)})
    for dtype, wide in (("bfloat16", "float32"), ("float64", "float64")):
        posed = problem(Case("cross_entropy", arguments, "plain", "contiguous", dtype, seed=0), part)
        labels: HostArray = posed.static["labels"]
        assert (str(posed.args[0].dtype), str(labels.dtype), str(posed.dy.dtype)) == (dtype, wide, wide)  # type: ignore[union-attr]
