"""Sigmoid cross-entropy beside scipy's log_expit, huge logits, and how close to zero it is exact."""

import numpy as np
import pytest
from scipy.special import expit, log_expit  # type: ignore[import-untyped]

from vitref.components import sigmoid_cross_entropy
from vitref.testing import tolerance

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
def test_equals_the_sum_of_log_expit(spread: float) -> None:
    x, labels = spread * RNG.standard_normal((7, 11)), RNG.uniform(0, 1, (7, 11))
    y, _ = sigmoid_cross_entropy.forward(x, labels=labels)
    expected = -np.sum(labels * log_expit(x) + (1 - labels) * log_expit(-x)) / 7
    assert abs(y - expected) <= tolerance("float64", 77) * expected


def test_integers_and_their_rows_agree_to_the_bit() -> None:
    x, labels = RNG.standard_normal((7, 11)), RNG.integers(0, 11, size=7)
    by_index, first = sigmoid_cross_entropy.forward(x, labels=labels)
    by_share, second = sigmoid_cross_entropy.forward(x, labels=np.eye(11)[labels])
    dy = np.asarray(1.7)
    assert by_index == by_share
    backwards = [sigmoid_cross_entropy.backward(dy, saved).x for saved in (first, second)]
    assert np.array_equal(*backwards)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits(dtype: str) -> None:
    x = np.array([[1e30, -1e30, 0.0]], dtype)
    for label, loss, dx in ((0, np.log(2), [0, 0, 0.5]), (1, 2e30, [1, -1, 0.5])):
        y, saved = sigmoid_cross_entropy.forward(x, labels=np.array([label]))
        assert y == pytest.approx(loss, rel=tolerance(dtype))
        assert sigmoid_cross_entropy.backward(np.ones((), dtype), saved).x.tolist() == [dx]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_loss_keep_relative_accuracy(dtype: str) -> None:
    """Where log sigmoid is taken as x - softplus(x), sigmoid loses |x| roundings: 20 at x = 20."""
    x = np.linspace(-80, 80, 321).astype(dtype)[:, None]
    _, saved = sigmoid_cross_entropy.forward(x, labels=np.zeros(x.shape, dtype))
    exact = expit(x.astype(np.float64))
    assert np.max(np.abs(saved.sigmoid - exact) / exact) <= tolerance(dtype)
    for value in x[:, 0]:
        label = np.full((1, 1), value > 0, dtype)
        y, _ = sigmoid_cross_entropy.forward(value.reshape(1, 1), labels=label)
        assert abs(y - -log_expit(abs(float(value)))) <= tolerance(dtype)


@pytest.mark.parametrize("logit", [-10.0, -17.0, -30.0])
def test_small_losses_are_not_lost(logit: float) -> None:
    """A thousand classes that are not there, each with a loss of about exp(logit), in float32."""
    x = np.full((1, 1000), logit)
    y, saved = sigmoid_cross_entropy.forward(x.astype("float32"), labels=np.zeros((1, 1000), "float32"))
    assert y.dtype == np.float32
    expected = -np.sum(log_expit(-x))
    assert expected > 0
    assert abs(y - expected) <= tolerance("float32", 1000) * expected
    there, _ = sigmoid_cross_entropy.forward(-x.astype("float32"), labels=np.ones((1, 1000), "float32"))
    assert there == y
    assert np.max(np.abs(saved.sigmoid / expit(x) - 1)) <= tolerance("float32")


def test_the_largest_logits_do_not_overflow() -> None:
    x = np.array([[1.0, -1.0]], "float32") * np.finfo("float32").max
    with np.errstate(all="raise", under="ignore"):
        y, saved = sigmoid_cross_entropy.forward(x, labels=np.array([0]))
    assert y == 0
    assert saved.sigmoid.tolist() == [[1, 0]]
