"""`vitref.stream`: the results of `forward`, batch by batch, one prepared ahead."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import vitref
from tests.backends.device import device
from tests.test_api import random_weights

RNG = np.random.default_rng(2)
BATCHES = [RNG.standard_normal((n, 3, 6, 9)) for n in (3, 3, 3, 2)]


@pytest.fixture(scope="module")
def weights() -> vitref.Weights:
    return random_weights()


@pytest.mark.parametrize("count", range(5))
def test_results_are_those_of_forward_in_order(weights: vitref.Weights, count: int) -> None:
    found = list(vitref.stream(weights, BATCHES[:count], dtype="float64"))
    assert len(found) == count
    for y, batch in zip(found, BATCHES, strict=False):
        filled = np.concatenate([batch, np.zeros((3 - len(batch), 3, 6, 9))])
        np.testing.assert_array_equal(y, vitref.forward(weights, filled, dtype="float64")[: len(batch)])


def test_pictures_are_decoded_and_a_device_serves(weights: vitref.Weights) -> None:
    pictures = RNG.integers(0, 256, (4, 2, 6, 9, 3), dtype=np.uint8)
    found = list(vitref.stream(weights, iter(pictures), backend=device()[0]))
    for y, batch in zip(found, pictures, strict=True):
        expected = vitref.forward(weights, batch)
        assert np.abs(y - expected).max() < 1e-4 * np.abs(expected).max()


def test_one_batch_is_prepared_ahead_in_another_thread(weights: vitref.Weights) -> None:
    asked: list[threading.Thread] = []

    def batches() -> Iterator[Any]:
        for batch in BATCHES[:3] * 3:
            asked.append(threading.current_thread())
            yield batch

    results = vitref.stream(weights, batches())
    assert asked == []
    next(results)
    assert 2 <= len(asked) <= 3
    assert threading.current_thread() not in asked
    results.close()  # type: ignore[attr-defined]
    assert len(asked) <= 4


def test_an_error_comes_at_its_batch(weights: vitref.Weights) -> None:
    results = vitref.stream(weights, [BATCHES[0], BATCHES[1][:, :2]])
    with pytest.raises(vitref.ImageError, match="channels"):
        list(results)


def test_a_wrong_backend_is_refused_at_once(weights: vitref.Weights) -> None:
    with pytest.raises(vitref.BackendError, match="nowhere"):
        vitref.stream(weights, BATCHES, backend="nowhere")
