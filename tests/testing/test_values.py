"""Regimes are what their names say, layouts change nothing but the memory, and a seed is enough."""

import numpy as np
import pytest

from vitref import backends
from vitref.components import split_heads
from vitref.testing import tolerance
from vitref.testing.cases import SPECS
from vitref.testing.problem import Case, numbers, problem
from vitref.testing.shapes import Arguments, Labels
from vitref.testing.values import LAYOUTS, REGIMES, draw, place

SHAPE = (50, 40)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize(
    ("regime", "mean", "deviation"),
    [("plain", 0, 1), ("offset", 1000, 1), ("tiny", 0, 1e-3), ("large", 0, 30)],
)
def test_regime_has_its_mean_and_deviation(regime: str, mean: float, deviation: float) -> None:
    x = draw(SHAPE, regime, rng(), "float64")
    assert np.std(x) == pytest.approx(deviation, rel=0.1)
    assert np.mean(x) == pytest.approx(mean, abs=deviation / 5)


def test_constant_rows_are_constant_and_their_means_exact() -> None:
    x = draw(SHAPE, "constant", rng(), "float32")
    assert np.array_equal(x, np.broadcast_to(x[:, :1], SHAPE))
    assert np.array_equal(np.mean(x, axis=1), x[:, 0])
    assert len(np.unique(x)) > 5


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 4)])
def test_every_shape_and_dtype(regime: str, shape: tuple[int, ...]) -> None:
    for dtype in ("float32", "float64"):
        x = draw(shape, regime, rng(), dtype)
        assert (x.shape, x.dtype) == (shape, np.dtype(dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_layout_keeps_the_values(layout: str, shape: tuple[int, ...]) -> None:
    x = draw(shape, "plain", rng(), "float32")
    placed = place(x, layout, backends.get("numpy"))
    assert np.array_equal(placed, x)
    assert placed.dtype == x.dtype
    assert not np.shares_memory(placed, x)
    if len(shape) > 1:
        assert placed.flags.c_contiguous == (layout == "contiguous")


def test_a_case_makes_the_same_numbers_every_time() -> None:
    arguments = SPECS["linear"].arguments(lambda low, high: high)
    case = Case("linear", arguments, "plain", "contiguous", "float32", seed=7)
    other = Case("linear", arguments, "plain", "contiguous", "float32", seed=8)
    first, again, different = (numbers(c, arguments, 2)[0][0] for c in (case, case, other))
    assert first is not None
    assert np.array_equal(first, np.asarray(again))
    assert not np.array_equal(first, np.asarray(different))


def test_parameters_are_never_in_the_regime_of_the_inputs() -> None:
    arguments = Arguments({"x": (4, 50), "weight": (50,), "bias": (50,)}, {"eps": 1e-6})
    case = Case("layer_norm", arguments, "offset", "contiguous", "float64", 0)
    x, weight, bias = numbers(case, arguments, 2)[0]
    assert np.min(np.asarray(x)) > 990
    assert np.max(np.abs(np.stack([np.asarray(weight), np.asarray(bias)]))) < 10


@pytest.mark.parametrize(("kind", "total"), [("probabilities", True), ("weights", False)])
def test_labels_as_rows(kind: str, total: bool) -> None:
    rows = Labels(kind, 5, 4).values(rng(), "float64")
    assert rows.shape == (5, 4)
    assert np.allclose(np.sum(rows, axis=1), 1, rtol=0, atol=tolerance("float64")) == total


def test_labels_as_integers_reach_every_class() -> None:
    labels = Labels("integers", 200, 4).values(rng(), "float32")
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_a_problem_has_a_random_cotangent_of_the_shape_of_y() -> None:
    arguments = Arguments({"qkv": (2, 3, 12)}, {"heads": 2})
    posed = problem(Case("split_heads", arguments, "plain", "sliced", "float32", 1), split_heads)
    assert [dy.shape for dy in posed.dy] == [(2, 2, 3, 2)] * 3
    assert [dy.dtype for dy in posed.dy] == [np.float32] * 3
    assert not np.array_equal(posed.dy[0], posed.dy[1])
