"""LayerNorm: what its docstring says about float32, and that eps has no default."""

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.components import layer_norm
from vitref.testing import tolerance

WIDTH = 768


def rows(offset: float) -> HostArray:
    """float32 rows of standard deviation 1 about this mean."""
    return (offset + np.random.default_rng(0).standard_normal((200, WIDTH))).astype(np.float32)


def two_pass(x: HostArray) -> HostArray:
    """The variance behind the component's r, for eps = 0."""
    _, saved = layer_norm.forward(x, np.ones(WIDTH, x.dtype), np.zeros(WIDTH, x.dtype), eps=0.0)
    return np.asarray(1 / (saved.r[:, 0].astype(np.float64) ** 2))


def one_pass(x: HostArray) -> HostArray:
    return np.asarray(np.mean(x * x, axis=-1) - np.mean(x, axis=-1) ** 2)


def worst(variance: HostArray, x: HostArray) -> float:
    """The largest relative error of a variance, beside that of float64."""
    exact = np.var(x.astype(np.float64), axis=-1)
    return float(np.max(np.abs(variance - exact) / exact))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_variance_is_accurate_in_float32(offset: float) -> None:
    x = rows(offset)
    assert worst(two_pass(x), x) < tolerance("float32")


def test_one_pass_variance_loses_digits_at_a_mean_of_100_deviations() -> None:
    x = rows(100.0)
    assert 1e-3 < worst(one_pass(x), x) < 1e-2


def test_one_pass_variance_has_no_digit_at_a_mean_of_10000_deviations() -> None:
    x = rows(1e4)
    assert worst(one_pass(x), x) > 1
    assert worst(two_pass(x), x) < 1e-5


def test_eps_has_no_default() -> None:
    with pytest.raises(TypeError, match="eps"):
        layer_norm.forward(np.ones((1, 2)), np.ones(2), np.zeros(2))  # type: ignore[call-arg]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_row_gives_the_bias(dtype: str) -> None:
    x = np.full((2, 5), 3.0, dtype)
    bias = np.random.default_rng(1).standard_normal(5).astype(dtype)
    y, _ = layer_norm.forward(x, np.full(5, 7.0, dtype), bias, eps=1e-12)
    assert np.array_equal(y, np.stack([bias, bias]))


def test_eps_decides_where_the_variance_is_small() -> None:
    """1e-5 for 1e-6 changes the output by 4.2 % at a variance of 1e-4, by 4.5e-6 at a variance of 1."""
    ones, zeros = np.ones(2), np.zeros(2)
    for variance, change in ((1e-4, 4.2e-2), (1.0, 4.5e-6)):
        x = np.array([[-1.0, 1.0]]) * np.sqrt(variance)
        wide, narrow = (layer_norm.forward(x, ones, zeros, eps=eps)[0][0, 1] for eps in (1e-5, 1e-6))
        assert 1 - wide / narrow == pytest.approx(change, rel=0.03)
