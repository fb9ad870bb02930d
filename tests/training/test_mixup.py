"""Mixup against one blend at a time."""

import numpy as np

from vitref.training.mixup import mixed


def test_every_example_is_blended_with_its_own_partner() -> None:
    draw = np.random.default_rng(0)
    x, partner, share = draw.normal(size=(6, 2, 3)), draw.permutation(6), draw.random(6)
    result = mixed(x, partner, share)
    for n in range(6):
        np.testing.assert_allclose(result[n], share[n] * x[n] + (1 - share[n]) * x[partner[n]], rtol=1e-14)


def test_the_ends_are_exact_and_the_dtype_stays() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    result = mixed(x, np.array([1, 0]), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(result, np.stack([x[0], x[0]]))
    assert result.dtype == np.float32
