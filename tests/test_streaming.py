"""`vitref.stream`: the results of `forward`, batch by batch, one prepared ahead."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import vitref
from tests.backends.device import device
from tests.test_api import random_weights
from vitref.testing import tolerance

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
        assert np.abs(y - expected).max() <= tolerance("float32", 10_000) * np.abs(expected).max()


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
    results = vitref.stream(weights, [BATCHES[0], BATCHES[1], BATCHES[1][:, :2], BATCHES[2]])
    good = [next(results), next(results)]
    assert [len(y) for y in good] == [3, 3]
    with pytest.raises(vitref.ImageError, match="channels"):
        next(results)


def test_a_wrong_backend_is_refused_at_once(weights: vitref.Weights) -> None:
    for wrong in ({"backend": "nowhere"}, {"dtype": "int8"}, {"precision": "loose"}):
        with pytest.raises(vitref.BackendError, match=next(iter(wrong.values()))):
            vitref.stream(weights, BATCHES, **wrong)  # type: ignore[arg-type]
    with pytest.raises(vitref.ConfigError, match="an iterable"):
        vitref.stream(weights, 3)  # type: ignore[arg-type]
    with pytest.raises(vitref.ConfigError, match=r"batches: found 'photo\.jpg'"):
        vitref.stream(weights, "photo.jpg")


def test_a_smaller_batch_is_filled_up(weights: vitref.Weights) -> None:
    """Every pass has the shape of the first one, so that a recording of it serves."""
    shapes: list[Any] = []

    def replay(owner: Any, key: Any, compute: Any, image: Any) -> Any:
        shapes.append(image.shape)
        return compute(image)

    found = list(vitref.stream(weights, BATCHES, backend=device(replay=replay)[0]))
    assert shapes == [(3, 3, 6, 9)] * 4
    assert [len(y) for y in found] == [3, 3, 3, 2]


def test_closing_does_not_wait_for_a_source_that_blocks(weights: vitref.Weights) -> None:
    released = threading.Event()

    def batches() -> Iterator[Any]:
        yield from BATCHES[:3]
        released.wait(20)

    results = vitref.stream(weights, batches())
    next(results)
    began = time.perf_counter()
    results.close()  # type: ignore[attr-defined]
    released.set()
    assert time.perf_counter() - began < 10
