"""What a lower precision explains, and what only happens to have its size."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.verify.compare import models
from tests.verify.compare.test_honest import judged
from vitref.array import HostArray
from vitref.verify import ladder
from vitref.verify.precision import rounded

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((2, 17, 40))


def looks_like(error: HostArray, own: HostArray | None = None) -> bool:
    """Beside own runs that err at random, by as much."""
    runs = [VALUES + 1e-3 * RNG.standard_normal(VALUES.shape) for _ in range(2)]
    return ladder._looks_like(VALUES + error, VALUES, runs if own is None else [VALUES + own] * 2)


@pytest.mark.parametrize("images", [1, 2, 8])
def test_errors_without_a_structure(images: int) -> None:
    shape = (images, 17, 40)
    values = RNG.standard_normal(shape)
    runs = [values + 1e-3 * RNG.standard_normal(shape) for _ in range(2)]
    assert ladder._looks_like(values + 1e-3 * RNG.standard_normal(shape), values, runs)
    assert ladder._looks_like(rounded(values, "bfloat16"), values, [rounded(values * (1 + 1e-9), "bfloat16")])


@pytest.mark.parametrize(
    "formula",
    [lambda x: 1e-3 * x, lambda x: 1e-3 * x**2, lambda x: 1e-3 * np.tanh(x), lambda x: 1e-3 + 0 * x],
    ids=["factor", "square", "tanh", "shift"],
)
def test_a_function_of_the_value_is_no_rounding(formula: Callable[[HostArray], HostArray]) -> None:
    for noise in (0.0, 3e-4):
        assert not looks_like(formula(VALUES) + noise * RNG.standard_normal(VALUES.shape))


def test_one_image_does_not_hide_it() -> None:
    """A mean over one image is the error itself, which says nothing."""
    values = VALUES[:1]
    runs = [values + 1e-3 * RNG.standard_normal(values.shape) for _ in range(2)]
    assert not ladder._looks_like(values * 1.001, values, runs)


def test_one_element_far_off_is_no_rounding() -> None:
    error = 5e-4 * RNG.standard_normal(VALUES.shape)
    assert looks_like(error)
    error[1, 3, 4] = 0.02
    assert not looks_like(error)


def test_rounded_parameters_err_alike_in_all_tokens_and_are_a_lower_precision() -> None:
    assert looks_like(np.broadcast_to(1e-3 * RNG.standard_normal(40), VALUES.shape))


def test_where_own_runs_have_a_structure_a_candidate_may_have_it() -> None:
    chopped = -1e-3 * np.abs(VALUES) * np.sign(VALUES)
    assert not looks_like(chopped)
    assert looks_like(chopped, own=0.9 * chopped)


def test_chance_is_no_structure() -> None:
    """Means over few errors are not small by themselves."""
    found = [ladder._structure(RNG.standard_normal((8, 10)), VALUES[0, :8, :10]) for _ in range(200)]
    assert np.mean(found) < 0.07


def test_of_few_elements_only_the_size_counts() -> None:
    values = RNG.standard_normal((2, 7))
    assert ladder._structure(values * 1e-3, values) == 0
    assert ladder._structure(np.zeros((9, 20)), np.ones((9, 20))) == 0


@pytest.mark.parametrize("name", ["gelu_tanh_for_erf", "eps_1e-3", "gelu_digits_exchanged"])
def test_a_mistake_as_small_as_a_lower_precision_is_a_mistake(name: str) -> None:
    report = judged(models.forward_only(models.planted(name)))
    assert report.outcome == "differ"
    assert not [tap for tap in report.taps if tap.verdict == "lower precision"]


def test_a_pixel_that_is_off_is_no_lower_precision() -> None:
    image = models.image().copy()
    image[1, 2, 3, 4] += 0.1
    report = judged(
        {"input.image": image, **models.forward_only(models.without(models.planted(), ["image"]))}
    )
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert kinds["image"] == "bug"


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_an_error_has_to_be_of_the_size_of_the_precision(factor: float) -> None:
    """Far below bfloat16's it is not bfloat16's, and neither is it far above."""
    taps = models.forward_only(models.planted())
    short = rounded(taps["blocks.0.mlp.fc1"], "bfloat16")
    off = factor * (short - taps["blocks.0.mlp.fc1"])
    taps["blocks.0.mlp.fc1"] = (taps["blocks.0.mlp.fc1"].astype(np.float64) + off).astype(np.float64)
    report = judged({tap: np.asarray(array, np.float64) for tap, array in taps.items()})
    assert {tap.tap: tap.verdict for tap in report.taps}["blocks.0.mlp.fc1"] == "bug"
