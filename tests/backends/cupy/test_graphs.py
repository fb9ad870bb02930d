"""CUDA graphs of small batches: when they are recorded, what they read and write, when they go."""

import gc
from typing import Any

import numpy as np

from tests.backends.cupy.stand_ins import Array, Fake
from vitref.backends.cupy_runtime.device import CupyDevice
from vitref.backends.cupy_runtime.graphs import WARM_UPS, Recordings


class Owner:
    __hash__ = None  # type: ignore[assignment]  # as a mapping


def doubled(fake: Fake, runs: list[Any]) -> Any:
    def compute(image: Any) -> Any:
        runs.append(image)
        y = np.zeros_like(image)
        fake.do(lambda: np.multiply(image, 2, out=y))
        return y

    return compute


def test_a_small_batch_is_recorded_after_two_runs_and_then_replayed(fake: Fake, device: CupyDevice) -> None:
    recordings, runs, owner = Recordings(device, 16), list[Any](), Owner()
    compute, results = doubled(fake, runs), []
    for number in range(5):
        image = np.full((2, 3), number, "float32").view(Array)
        with device.scope():
            results.append(recordings.replay(owner, "key", compute, image))
    assert len(runs) == WARM_UPS + 1
    assert [y.tolist() for y in results] == [[[2.0 * n] * 3] * 2 for n in range(5)]
    assert len({id(y.base) for y in results[WARM_UPS:]} | {id(y) for y in results}) >= 5


def test_recordings_belong_to_one_owner_and_key(fake: Fake, device: CupyDevice) -> None:
    recordings, runs, first, second = Recordings(device, 16), list[Any](), Owner(), Owner()
    image = np.ones((1, 2), "float32").view(Array)
    for _ in range(4):
        for owner, key in ((first, "a"), (first, "b"), (second, "a")):
            with device.scope():
                recordings.replay(owner, key, doubled(fake, runs), image)
    assert len(runs) == 3 * (WARM_UPS + 1)
    del first, owner
    gc.collect()
    assert len(recordings._owners) == 1


def test_large_batches_are_not_recorded(fake: Fake, device: CupyDevice) -> None:
    recordings, runs, owner = Recordings(device, 1), list[Any](), Owner()
    for _ in range(4):
        recordings.replay(owner, "key", doubled(fake, runs), np.ones((2, 2), "float32").view(Array))
    assert len(runs) == 4


def test_what_cannot_be_recorded_runs_step_by_step(fake: Fake, device: CupyDevice) -> None:
    recordings, owner, runs = Recordings(device, 16), Owner(), list[bool]()

    def compute(image: Any) -> Any:
        runs.append(device.recording)
        if device.recording:
            raise NotImplementedError("not in a graph")
        return image * 2

    for _ in range(5):
        with device.scope():
            found = recordings.replay(owner, "key", compute, np.ones((1, 2), "float32").view(Array))
        assert found.tolist() == [[2, 2]]
        assert fake.current == [fake.streams[0]]
    assert runs == [False, False, True, False, False, False]


def test_too_little_memory_to_record_is_tried_again(fake: Fake, device: CupyDevice) -> None:
    recordings, owner, runs = Recordings(device, 16), Owner(), list[bool]()
    full = fake.module.cuda.memory.OutOfMemoryError

    def compute(image: Any) -> Any:
        runs.append(device.recording)
        if runs.count(True) == 1 and device.recording:
            raise full("Out of memory allocating 8 bytes")
        y = np.zeros_like(image)
        fake.do(lambda: np.multiply(image, 2, out=y))
        return y

    for _ in range(8):
        with device.scope():
            found = recordings.replay(owner, "key", compute, np.ones((1, 2), "float32").view(Array))
        assert found.tolist() == [[2.0, 2.0]]
    assert runs.count(True) == 2
    assert runs[-1]


def test_a_constant_made_while_recording_is_kept(fake: Fake, device: CupyDevice) -> None:
    def compute() -> Any:
        return device.from_host(np.ones(3), "float32")

    with device.scope():
        _, kept = device.record(compute)
    assert device.copies.synchronized == 1
    assert any(array is kept[0] for array in kept[1:])
