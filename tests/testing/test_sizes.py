"""Sizes of rounding errors: large where a computation is ill-conditioned, and nowhere else."""

from typing import Any

import numpy as np
import pytest

from vitref.components import layer_norm, linear
from vitref.testing.sizes import Sizes, sizes


def layer_norm_sizes(offset: float) -> Sizes:
    rng = np.random.default_rng(0)
    args: tuple[Any, ...] = (offset + rng.standard_normal((3, 8)), np.ones(8), np.zeros(8))
    return sizes(layer_norm, args, rng.standard_normal((3, 8)), {"eps": 1e-6}, rng)


def test_sizes_grow_with_the_mean_of_a_normalisation() -> None:
    small, large = layer_norm_sizes(0.0), layer_norm_sizes(1000.0)
    assert 100 < large.y / small.y < 10_000
    assert 100 < large.grads[0] / small.grads[0] < 10_000
    assert large.grads[2] == pytest.approx(small.grads[2], rel=0.5)


def test_sizes_see_terms_that_cancel() -> None:
    """x is chosen so that y = 0: the error of y is that of its two terms of 1."""
    x, weight = np.array([[1.0, 1.0]]), np.array([[1.0, -1.0]])
    found = sizes(linear, (x, weight, None), np.ones((1, 1)), {}, np.random.default_rng(0))
    assert 0.3 < found.y < 10
    assert found.grads[2] is None
