"""Dropout and DropPath with the masks of a training pass: expectation, and whole images dropped."""

import numpy as np

from vitref.components import drop_path, dropout
from vitref.masks import Train

X = 1 + np.random.default_rng(0).uniform(size=(5, 3, 2))


def test_the_mean_over_many_masks_is_x() -> None:
    """Within six deviations: one element has the deviation x sqrt(rate / (1 - rate))."""
    for rate in (0.1, 0.5, 0.9):
        passes = [
            dropout.forward(X, mask=Train(seed=seed).mask("x", X.shape, rate), rate=rate)[0]
            for seed in range(2000)
        ]
        deviation = X * np.sqrt(rate / (1 - rate) / len(passes))
        assert np.all(np.abs(np.mean(passes, axis=0) - X) < 6 * deviation)


def test_a_path_is_dropped_for_a_whole_image_or_not_at_all() -> None:
    mask = Train(seed=2).mask("drop_path1", (5,), 0.5)
    y, saved = drop_path.forward(X, mask=mask, rate=0.5)
    dx = drop_path.backward(X, saved).x
    assert 0 < np.sum(mask) < 5
    for n in range(5):
        assert np.array_equal(y[n], 2 * X[n] * mask[n])
        assert np.array_equal(dx[n], 2 * X[n] * mask[n])
