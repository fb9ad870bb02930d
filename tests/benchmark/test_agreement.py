"""When two candidates count as computing the same."""

import math

import numpy as np
import pytest

from vitref.benchmark.agreement import allowed, complaint, difference
from vitref.benchmark.case import Case

SMALL = Case("ViT-Ti/16", 1, "float32", "forward")


@pytest.mark.parametrize("wrong", [[1.0, 2.001], [1.0, float("nan")], [1.0]])
def test_what_differs_is_complained_of(wrong: list[float]) -> None:
    assert complaint(SMALL, "vitref-numpy", [1.0, 2.0], [1.0, 2.00001]) is None
    said = complaint(SMALL, "vitref-numpy", [1.0, 2.0], wrong)
    assert said is not None
    assert "differs from vitref-numpy's" in said


def test_a_floor_has_no_answer() -> None:
    assert complaint(SMALL, "vitref-numpy", [1.0], []) is None
    assert complaint(SMALL, "products", [], [1.0]) is None


def test_difference_is_relative() -> None:
    assert difference([3e8, 4e8], [3e8, 4.5e8]) == pytest.approx(0.1)
    assert difference([1.0], [1.0, 2.0]) == math.inf


def test_fewer_bits_are_allowed_more() -> None:
    """TF32 rounds operands to 11 bits; whole float32 is not excused by it."""
    strict, exact = SMALL, SMALL._replace(dtype="float64")
    tf32, half = SMALL._replace(precision="tf32"), SMALL._replace(dtype="bfloat16")
    limits = [allowed(case) for case in (exact, strict, tf32, half)]
    assert limits == sorted(limits)
    assert allowed(SMALL._replace(precision="fp32x3")) == allowed(strict)
    assert allowed(exact) < 1e-12
    assert allowed(strict) < 1e-4
    assert allowed(tf32) < 0.02
    assert allowed(half) < 0.2


def test_a_missing_activation_is_noticed_in_every_dtype() -> None:
    """Dropping 1 of 12 blocks' GELU moves logits by far more than what bfloat16 is allowed: here half."""
    x = np.random.default_rng(0).standard_normal(1000)
    assert complaint(SMALL._replace(dtype="bfloat16"), "vitref-cupy", list(x), list(1.5 * x)) is not None
