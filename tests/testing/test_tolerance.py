"""Tolerances: the unit of rounding of each dtype, and a growth that is neither too tight nor too loose."""

import math

import ml_dtypes
import numpy as np
import pytest

from vitref.testing import tolerance
from vitref.testing.tolerance import ROUNDING, STEPS


@pytest.mark.parametrize("dtype", ROUNDING)
def test_rounding_is_half_of_machine_epsilon(dtype: str) -> None:
    assert 2 * ROUNDING[dtype] == float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(KeyError):
        tolerance("int8")


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("terms", [1, 10, 1000])
def test_errors_of_sums_stay_below_and_come_near(terms: int, offset: int) -> None:
    """Sums from left to right in float32, the worst order: the worst of 400 is 1/50 of the bound or more."""
    rng, worst = np.random.default_rng(terms), 0.0
    for x in (offset + rng.standard_normal((400, terms))).astype(np.float32):
        total = np.float32(0)
        for product in x * x[::-1]:
            total = np.float32(total + product)
        products = x.astype(np.float64) * x[::-1]
        size = max(abs(math.fsum(products)), math.sqrt(math.fsum(products**2)))
        worst = max(worst, abs(float(total) - math.fsum(products)) / size)
    assert tolerance("float32", terms) / 50 < worst < tolerance("float32", terms)


def test_growth_is_the_square_root_of_the_number_of_terms() -> None:
    assert tolerance("float32", 400) == 20 * tolerance("float32") == 20 * STEPS * 2.0**-24
