"""Streams, memory, transfers and kernels of the CuPy backend, on a stand-in for CuPy."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.backends.cupy.stand_ins import Fake, OutOfMemoryError
from vitref.backends.cupy_runtime import nvrtc
from vitref.backends.cupy_runtime.device import CupyDevice
from vitref.errors import BackendError


def test_a_pass_runs_between_what_the_caller_did_before_and_after(fake: Fake, device: CupyDevice) -> None:
    caller = fake.streams[0]
    with device.scope():
        assert fake.current[-1] is device.stream
        assert device.stream.waits == [caller]
        with device.scope():
            assert device.stream.waits == [caller]
    assert caller.waits == [device.stream]
    assert fake.current[-1] is caller


def test_a_failed_pass_leaves_the_stream(fake: Fake, device: CupyDevice) -> None:
    with pytest.raises(ValueError, match="wrong"), device.scope():
        raise ValueError("wrong")
    assert fake.current == [fake.streams[0]]
    with device.scope():
        assert fake.current[-1] is device.stream


def test_out_of_memory_says_what_fits_and_lets_go(fake: Fake, device: CupyDevice) -> None:
    gone: list[Any] = []

    def compute() -> None:
        array = device.empty((2**29,), "uint8")
        gone.append(weakref.ref(array))
        device.empty((2**31,), "uint8")

    with pytest.raises(BackendError) as caught, device.scope():
        compute()
    assert "2,147,483,648 bytes" in str(caught.value)
    assert "less than 60% of this one" in str(caught.value)  # 1 + 1/2 GiB of the 2 1/2 that were wanted
    assert "1.00 GiB of 2.00 GiB free" in str(caught.value)
    gc.collect()
    assert gone[0]() is None
    assert fake.freed_all == 1
    with device.scope():
        assert device.empty((3,), "float32").shape == (3,)


def test_input_of_a_pass_goes_on_its_stream(device: CupyDevice) -> None:
    host = np.arange(6.0).reshape(2, 3)
    with device.scope():
        found = device.from_host(host, "float32")
        turned = device.from_host(host.T, "float64")
    assert found.dtype == np.float32
    assert turned.flags.c_contiguous
    assert device.copies.synchronized == 0
    host[0, 0] = 9
    assert found[0, 0] == 0
    assert np.array_equal(device.to_host(found), [[0, 1, 2], [3, 4, 5]])


def test_input_between_passes_is_complete_and_its_memory_waits_for_readers(
    fake: Fake, device: CupyDevice
) -> None:
    first = device.from_host(np.ones((4, 5)), "bfloat16")
    assert (str(first.dtype), first.shape, device.copies.synchronized) == ("bfloat16", (4, 5), 1)
    assert device.copies.waits == []
    part = first[1:]
    del first
    device.from_host(np.ones((4, 5)), "bfloat16")
    assert device.copies.waits == []  # `part` is still on that memory: other memory was taken
    del part
    gc.collect()
    device.from_host(np.ones((4, 5)), "bfloat16")
    assert device.copies.waits != []
    assert set(device.copies.waits) == {device.stream, fake.streams[0]}


@pytest.mark.parametrize(("memory", "found"), [((1, 0), "host memory 0"), ((2, 1), "CUDA memory 1")])
def test_arrays_of_other_devices_are_refused(device: CupyDevice, memory: tuple[int, int], found: str) -> None:
    array = SimpleNamespace(__dlpack_device__=lambda: memory)
    with pytest.raises(BackendError, match=found):
        device.from_dlpack(array)


def test_arrays_of_this_device_are_taken(fake: Fake, device: CupyDevice) -> None:
    fake.module.from_dlpack = lambda array: (array, fake.current[-1])
    array = SimpleNamespace(__dlpack_device__=lambda: (2, 0))
    assert device.from_dlpack(array) == (array, device.stream)


def test_an_array_that_cupy_cannot_take_is_refused(fake: Fake, device: CupyDevice) -> None:
    def from_dlpack(array: Any) -> Any:
        raise BufferError("requires grad")

    fake.module.from_dlpack = from_dlpack
    with pytest.raises(BackendError, match="requires grad"):
        device.from_dlpack(SimpleNamespace(__dlpack_device__=lambda: (2, 0)))


def test_kernels_are_loaded_once_and_get_the_shared_memory_they_need(
    fake: Fake, device: CupyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    loaded: list[str] = []

    class Kernel:
        max_dynamic_shared_size_bytes = 0

        def __call__(self, grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
            launched.append((grid, block, arguments, shared_mem, self.max_dynamic_shared_size_bytes))

    monkeypatch.setattr(nvrtc, "compiled", lambda module, source, capability: Path(source))
    fake.module.cuda.nvrtc = None
    kernels = {"small": Kernel(), "large": Kernel()}

    def load(path: str) -> Any:
        loaded.append(path)
        return SimpleNamespace(get_function=kernels.get)

    fake.module.RawModule = load
    for _ in range(2):
        device.launch("source", "small", (2, 1, 1), (32, 1, 1), np.int32(3), shared=100)
    device.launch("source", "large", (2, 1, 1), (32, 1, 1), shared=100_000)
    device.launch("source", "large", (0, 1, 1), (32, 1, 1), shared=100_000)
    assert loaded == ["source"]
    assert [one[3:] for one in launched] == [(100, 0), (100, 0), (100_000, device.shared_limit)]


def test_the_stand_in_raises_what_cupy_raises() -> None:
    with pytest.raises(OutOfMemoryError):
        Fake().empty((2**31,), "uint8")
