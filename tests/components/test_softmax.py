"""Softmax: logits at which exp alone would overflow, and the blind spot of an all-ones cotangent."""

import numpy as np
import pytest

from vitref.components import softmax


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits(dtype: str) -> None:
    x = np.array([[1e30, 0.0, -1e30], [1e30, 1e30, 0.0], [-1e30, -1e30, -1e30]], dtype)
    y, saved = softmax.forward(x)
    third = 1 / y.dtype.type(3)
    assert y.tolist() == [[1, 0, 0], [0.5, 0.5, 0], [third, third, third]]
    dx = softmax.backward(np.ones_like(x), saved).x
    assert np.max(np.abs(dx)) < np.finfo(dtype).eps


def test_all_ones_cotangent_cannot_tell_a_gradient_from_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    y, saved = softmax.forward(x)
    right = softmax.backward(np.ones_like(x), saved).x
    assert np.max(np.abs(7 * right)) < 1e-14
    assert np.max(np.abs(softmax.backward(x, saved).x)) > 0.1
