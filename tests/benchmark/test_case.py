"""The cases, and the random numbers that every candidate gets."""

import numpy as np
import pytest

from vitref.benchmark.case import Case, problem

SMALL = Case("ViT-Ti/16", 1, "float32", "forward", depth=1)


def test_the_problem_is_random_truncated_and_the_same_in_both_dtypes() -> None:
    single, double = (problem(SMALL._replace(dtype=dtype)) for dtype in ("float32", "float64"))
    assert list(single.tensors) == list(single.config.parameter_shapes())
    for name, array in single.tensors.items():
        assert np.array_equal(array, double.tensors[name])
        assert (array.dtype.name, double.tensors[name].dtype.name) == ("float32", "float64")
        spread = array - 1 if "norm" in name and name.endswith("weight") else array
        assert np.abs(spread).max() <= 0.0401
        assert spread.std() > 0.01
    assert single.image.std() == pytest.approx(1, abs=0.01)


def test_16_bit_cases_start_from_the_float32_numbers() -> None:
    half = problem(SMALL._replace(dtype="bfloat16", precision="strict", device="cuda"))
    assert np.array_equal(half.image, problem(SMALL).image)
    assert half.image.dtype == np.float32


def test_depth_and_pixels_are_those_of_the_case() -> None:
    config = SMALL._replace(image_size=64, depth=3).config
    assert (config.depth, config.image_size, config.tokens) == (3, (64, 64), 17)
    assert SMALL._replace(depth=0).config.depth == 12
