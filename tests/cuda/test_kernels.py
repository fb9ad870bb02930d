"""What holds for every CUDA kernel: nothing is left unwritten, and the order of the threads changes no bit.

A barrier that is taken away must show. What the numbers are is in test_properties.py and test_rounding.py.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cuda.exercises import EXERCISES, exercised
from tests.cuda.host import CUDA, HostDevice
from vitref.array import HostArray

ORDERS = (0, 1, 2)
BARRIER = re.compile(r"__sync(?:threads|warp)\(\);")
QUICK = ("-O0",)


@functools.cache
def outputs(source: str, order: int = 0) -> list[HostArray]:
    return exercised(source, HostDevice(order))


@functools.cache
def in_float32(source: str) -> list[HostArray]:
    return exercised(source, HostDevice(), ("float32",))


def test_every_source_is_exercised() -> None:
    sources = {path.stem for path in CUDA.glob("*.cu")}
    assert {name for name in sources if not name.startswith("attention_")} == set(EXERCISES)


@pytest.mark.parametrize("source", EXERCISES)
def test_every_kernel_is_exercised(source: str) -> None:
    device = HostDevice()
    exercised(source, device)
    text = (CUDA / f"{source}.cu").read_text()
    written = re.sub(r"#define EXPORT.*", "", text)
    exported = set(re.findall(r"EXPORT\((\w+?)(?:_##T)?\)", written))
    launched = {re.sub(r"_(f64|f32|f16|bf16)$", "", name) for name in device.launched}
    assert {re.sub(r"_f32$", "", name) for name in exported} <= launched


@pytest.mark.parametrize("source", EXERCISES)
def test_everything_is_written(source: str) -> None:
    for found in outputs(source):
        assert not np.any(np.isnan(found.astype("float64")))


@pytest.mark.parametrize("order", ORDERS[1:])
@pytest.mark.parametrize("source", EXERCISES)
def test_the_order_of_threads_and_blocks_changes_no_bit(source: str, order: int) -> None:
    for found, expected in zip(outputs(source, order), outputs(source), strict=True):
        assert found.tobytes() == expected.tobytes()


NOTICED_BY = {"common.cuh": ("losses", "layer_norm"), "columns.cuh": ("column_sum",)}
"""A header with barriers -> sources whose kernels use them; one of them has to notice."""


def barriers() -> list[tuple[str, int]]:
    """Every barrier of the sources that are exercised: file and position."""
    files = [*NOTICED_BY, *(f"{source}.cu" for source in EXERCISES)]
    return [(name, found.start()) for name in files for found in BARRIER.finditer((CUDA / name).read_text())]


def without_barrier(source: str, name: str, position: int, folder: Path) -> HostDevice:
    """A device on which this source lacks this barrier."""
    for path in (CUDA / f"{source}.cu", *CUDA.glob("*.cuh")):
        text = path.read_text()
        if path.name == name:
            text = text[:position] + BARRIER.sub("", text[position:], count=1)
        (folder / path.name).write_text(text)
    return HostDevice(folder=folder, flags=QUICK)


@pytest.mark.parametrize("source", sorted({*sum(NOTICED_BY.values(), ()), "column_sum"}))
def test_with_all_barriers_nothing_is_noticed(source: str) -> None:
    found = exercised(source, HostDevice(flags=QUICK), ("float32",))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, in_float32(source), strict=True))


@pytest.mark.parametrize(("name", "position"), barriers())
def test_a_missing_barrier_shows(name: str, position: int, tmp_path: Path) -> None:
    sources = NOTICED_BY.get(name, (Path(name).stem,))
    assert any(_noticed(source, name, position, tmp_path / source) for source in sources)


def _noticed(source: str, name: str, position: int, folder: Path) -> bool:
    """Whether some order of the threads gives other bits than the kernel as it is."""
    folder.mkdir()
    device, expected = without_barrier(source, name, position, folder), in_float32(source)
    for device.order in ORDERS:
        found = exercised(source, device, ("float32",))
        if any(a.tobytes() != b.tobytes() for a, b in zip(found, expected, strict=True)):
            return True
    return False
