"""Cross-entropy beside scipy's log_softmax, and probabilities that underflow."""

import numpy as np
import pytest
from scipy.special import log_softmax  # type: ignore[import-untyped]

from vitref.components import cross_entropy
from vitref.testing import tolerance

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
def test_equals_the_mean_of_log_softmax(spread: float) -> None:
    x = spread * RNG.standard_normal((7, 11))
    labels = RNG.integers(0, 11, size=7)
    y, _ = cross_entropy.forward(x, labels=labels)
    expected = -np.mean(log_softmax(x, axis=1)[np.arange(7), labels])
    assert abs(y - expected) <= tolerance("float64", 11) * spread


def test_integers_and_their_probabilities_agree_to_the_bit() -> None:
    x, labels = RNG.standard_normal((7, 11)), RNG.integers(0, 11, size=7)
    by_index, first = cross_entropy.forward(x, labels=labels)
    by_share, second = cross_entropy.forward(x, labels=np.eye(11)[labels])
    dy = np.asarray(1.7)
    assert by_index == by_share
    assert np.array_equal(cross_entropy.backward(dy, first).x, cross_entropy.backward(dy, second).x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probability_that_underflows_has_a_finite_loss(dtype: str) -> None:
    y, saved = cross_entropy.forward(np.array([[0.0, 2000.0]], dtype), labels=np.array([0]))
    assert y == 2000
    assert cross_entropy.backward(np.ones((), dtype), saved).x.tolist() == [[-1, 1]]
