"""What runs CUDA kernels on the CPU is right itself, and finds the mistakes it is there for."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.cuda.host import HostDevice, tf32
from vitref.array import HostArray

PROBES = Path(__file__).parent / "probes"
ORDERS = (0, 1, 2, 3)
WARP = (32, 1, 1)
ONE = (1, 1, 1)


def device(order: int = 0) -> HostDevice:
    return HostDevice(order, folder=PROBES)


def random(*shape: int) -> HostArray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(("suffix", "dtype"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_16_bit_products(suffix: str, dtype: Any) -> None:
    a, b, d = random(16, 16).astype(dtype), random(16, 8).astype(dtype), np.empty((16, 8), "float32")
    device().launch("probes", f"product_{suffix}", ONE, WARP, a, b, d)
    exact = a.astype("float64") @ b.astype("float64")
    assert np.max(np.abs(d - exact)) < 1e-6


def test_tf32_products_ignore_the_lower_bits() -> None:
    a, b, d = random(16, 8), random(8, 8), np.empty((16, 8), "float32")
    device().launch("probes", "product_tf32", ONE, WARP, a, b, d)
    short = [(x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype("float64") for x in (a, b)]
    assert np.max(np.abs(d - short[0] @ short[1])) < 1e-6
    assert np.max(np.abs(d - a.astype("float64") @ b)) > 1e-4


def test_tf32_keeps_eleven_bits() -> None:
    x = random(1000)
    assert np.max(np.abs(tf32(x) / x - 1)) <= 2.0**-11
    assert np.all(tf32(x).view(np.uint32) & np.uint32(0x1FFF) == 0)


def test_matrices_are_loaded_and_transposed() -> None:
    x, y = random(32, 8).astype("float16"), np.empty((3, 4, 8, 8), "float16")
    device().launch("probes", "matrices", ONE, WARP, x, y)
    four = x.reshape(4, 8, 8)
    assert np.array_equal(y, [four, four.transpose(0, 2, 1), four.transpose(0, 2, 1)])


def test_asynchronous_copies_arrive_when_they_are_waited_for() -> None:
    x, y = random(128), np.empty(128, "float32")
    device().launch("probes", "copied", ONE, WARP, x, y, np.int32(1))
    assert np.array_equal(y, np.concatenate([np.zeros(4), x[4:]]).astype("float32"))
    device().launch("probes", "copied", ONE, WARP, x, y, np.int32(0))
    assert np.all(np.isnan(y))


def neighbours(order: int, mistake: int) -> HostArray:
    x, y = random(64), np.empty(64, "float32")
    device(order).launch("probes", "neighbours", ONE, (64, 1, 1), x, y, np.int32(mistake))
    return y


def test_a_missing_barrier_shows() -> None:
    expected = np.roll(random(64), -1)
    assert all(np.array_equal(neighbours(order, 0), expected) for order in ORDERS)
    assert not any(np.array_equal(neighbours(order, 1), expected) for order in ORDERS)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("mistake", "problem"), [(2, "wait for one another"), (3, "threads have ended")])
def test_threads_that_cannot_go_on_are_an_error(order: int, mistake: int, problem: str) -> None:
    with pytest.raises(RuntimeError, match=problem):
        neighbours(order, mistake)
    assert np.array_equal(neighbours(order, 0), np.roll(random(64), -1))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({2: np.int64(0)}, "argument 2 is int64, the kernel takes int32"),
        ({2: np.zeros(1, "int32")}, "argument 2 needs a number"),
        ({0: np.zeros(64)}, "argument 0 is float64, the kernel takes float32"),
        ({0: np.int32(1)}, "argument 0 needs an array"),
    ],
)
def test_arguments_have_the_types_of_the_signature(change: dict[int, Any], problem: str) -> None:
    arguments: list[Any] = [random(64), np.empty(64, "float32"), np.int32(0)]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises(RuntimeError, match=problem):
        device().launch("probes", "neighbours", ONE, (64, 1, 1), *arguments)


def test_a_result_must_be_writable_and_nothing_may_be_left_out() -> None:
    x, y = random(64), np.empty(64, "float32")
    with pytest.raises(RuntimeError, match="2 arguments, the kernel takes 3"):
        device().launch("probes", "neighbours", ONE, (64, 1, 1), x, y)
    y.setflags(write=False)
    with pytest.raises(RuntimeError, match="argument 1 is written to, and read-only"):
        device().launch("probes", "neighbours", ONE, (64, 1, 1), x, y, np.int32(0))
    with pytest.raises(TypeError, match="an argument is 0"):
        device().launch("probes", "neighbours", ONE, (64, 1, 1), x, y, 0)


def test_a_block_has_whole_warps() -> None:
    with pytest.raises(RuntimeError, match="whole warps"):
        device().launch("probes", "neighbours", ONE, (60, 1, 1), random(64), random(64), np.int32(0))
