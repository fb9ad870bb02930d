"""exp and the normal distribution of compiled loops, beside SciPy in float64."""

import hashlib
import inspect
from typing import Any

import numpy as np
import pytest
from scipy import special as scipy_special  # type: ignore[import-untyped]

from vitref.array import HostArray

pytest.importorskip("numba")

from vitref.backends.numba_kernels import loops, special
from vitref.backends.numba_kernels.special import cumulative, exponential, larger, numba
from vitref.components import gelu

compiled: Any = numba.njit(error_model="numpy")
"""Without cache, which would not notice a change of what is tested."""


@compiled  # type: ignore[untyped-decorator]
def exponentials(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = exponential(x[i])


@compiled  # type: ignore[untyped-decorator]
def cumulatives(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = cumulative(x[i], exponential(x.dtype.type(-0.5) * x[i] * x[i]))


@compiled  # type: ignore[untyped-decorator]
def largest(x: Any) -> Any:
    found = x[0]
    for i in range(x.size):
        found = larger(found, x[i])
    return found


def values(function: Any, x: HostArray) -> HostArray:
    y = np.empty_like(x)
    function(x, y)
    return y


both = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 1.1), ("float64", 1.0)])
def test_exponential_to_the_last_place(dtype: str, ulps: float) -> None:
    x = np.concatenate([np.linspace(-87, 88, 200_001), np.linspace(-1e-3, 1e-3, 1001), [0.0]]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    found = values(exponentials, x)
    assert np.max(np.abs(found - exact) / np.spacing(exact.astype(dtype))) <= ulps
    assert found[-1] == 1


@both
def test_what_is_far_below_zero_vanishes(dtype: str) -> None:
    x = np.array([-100, -1e4, -1e30, -np.inf], dtype)
    assert np.all(values(exponentials, x) <= 2e-38)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1.6e-7), ("float64", 2.3e-16)])
def test_the_normal_distribution(dtype: str, bound: float) -> None:
    x = np.concatenate([np.linspace(-12, 12, 200_001), [-30.0, -1e4, 30.0, 1e4, 0.0]]).astype(dtype)
    found = values(cumulatives, x)
    assert np.max(np.abs(found - scipy_special.ndtr(x.astype("float64")))) <= bound
    assert found[-1] == 0.5


def test_float32_keeps_small_probabilities() -> None:
    """Where 1 + erf cancels."""
    x = np.linspace(-8, 0, 10_001).astype("float32")
    exact = scipy_special.ndtr(x.astype("float64"))
    assert np.max(np.abs(values(cumulatives, x) / exact - 1)) <= 4e-6


@both
def test_nan_gives_nan(dtype: str) -> None:
    x = np.array([0, np.nan, 1] * 20, dtype)
    for function in (exponentials, cumulatives):
        assert np.isnan(values(function, x)).tolist() == [False, True, False] * 20
    assert np.isnan(largest(x))
    x[1::3] = np.inf
    assert largest(x) == np.inf
    assert largest(-x) == 0


@both
@pytest.mark.parametrize("width", [1, 5, 100])
def test_a_row_of_softmax_with_nan_or_infinity_is_nan_and_no_other(dtype: str, width: int) -> None:
    s = np.random.default_rng(0).standard_normal((3, width)).astype(dtype)
    s[1, width // 2] = np.nan
    loops.softmax(s)
    assert np.isnan(s).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(s).any(axis=1).tolist() == [False, True, False]
    s = np.zeros((2, width), dtype)
    s[0, width // 2] = np.inf
    loops.softmax(s)
    assert np.isnan(s[0, width // 2])
    assert np.isfinite(s[1]).all()


@both
@pytest.mark.parametrize("form", loops.GELU)
def test_gelu_keeps_nan_and_infinity(form: str, dtype: str) -> None:
    u = np.array([[np.nan, np.inf, -np.inf, 0, 1e30, -1e30] * 10], dtype)
    slope = np.empty_like(u)
    loops.GELU[form](u, None, slope)
    assert np.isnan(u[0, 0])
    assert np.isnan(slope[0, 0])
    assert u[0, 1] == np.inf
    assert not abs(u[0, 2]) < 1e3
    assert u[0, 3] == 0
    assert slope[0, 3] == 0.5
    assert (u[0, 4], slope[0, 4]) == (np.dtype(dtype).type(1e30), 1)
    assert abs(u[0, 5]) <= 1e-6


# Numba's cache


def test_the_loops_know_what_they_were_compiled_with() -> None:
    """After a change of `special.py` or of GELU's constants, write the new digest into `loops.py`."""
    source = inspect.getsource(special) + repr((gelu.SQRT_2_OVER_PI, gelu.CUBIC))
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == loops.COMPILED_WITH


@pytest.mark.parametrize("compiled_as", [special.plain, special.with_sums])
def test_without_a_folder_for_the_cache_loops_are_compiled_all_the_same(compiled_as: Any) -> None:
    """A function without a file has none."""
    names: dict[str, Any] = {}
    exec("def doubled(x):\n    for i in range(x.size):\n        x[i] *= 2", names)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(names["doubled"])
    x = np.arange(3.0)
    compiled_as(names["doubled"])(x)
    assert x.tolist() == [0, 2, 4]
