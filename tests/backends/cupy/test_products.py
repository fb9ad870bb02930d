"""Products by cuBLASLt: operands, epilogues and choices, on a stand-in that follows its documentation."""

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.cupy.stand_ins import Array, Fake, FakeCublasLt
from vitref.array import HostArray
from vitref.backends.cupy_runtime import cublaslt, user_cache
from vitref.backends.cupy_runtime.device import CupyDevice
from vitref.errors import BackendError
from vitref.testing import tolerance


def random(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype).view(Array)


def near(found: Any, a: HostArray, b: HostArray) -> bool:
    """Whether this is a @ b, as far as float32 rounding goes."""
    exact = a.astype("float64") @ b.astype("float64")
    return bool(np.linalg.norm(found - exact) <= tolerance("float32", len(b)) * np.linalg.norm(exact))


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_products_of_row_major_matrices(
    device: CupyDevice, transposed: tuple[bool, bool], dtype: str
) -> None:
    first, second = transposed
    a, b = random((5, 3) if first else (3, 5), dtype), random((4, 5) if second else (5, 4), dtype)
    bias, residual = random((4,), dtype), random((3, 4), dtype)
    found = device.product(
        a, b, math="strict", transpose_a=first, transpose_b=second, bias=bias, residual=residual
    )
    wide = [np.asarray(x).astype("float64") for x in (a, b, bias, residual)]
    left, right = wide[0].T if first else wide[0], wide[1].T if second else wide[1]
    expected = left @ right + wide[2] + wide[3]
    assert found.dtype == np.dtype(dtype)
    error = np.linalg.norm(found.astype("float64") - expected)
    assert error <= tolerance(dtype, 5) * np.linalg.norm(expected)


def test_a_product_may_have_another_dtype_and_a_given_place(device: CupyDevice) -> None:
    a, b = random((2, 3), "bfloat16"), random((3, 4), "bfloat16")
    assert device.product(a, b, math="strict", dtype="float32").dtype == np.float32
    out = np.empty((2, 4), a.dtype).view(Array)
    assert device.product(a, b, math="strict", out=out) is out


def test_operands_that_are_views_are_copied(device: CupyDevice) -> None:
    a, b = random((6, 8), "float32"), random((5, 4), "float32")
    found = device.product(a[::2, ::2], b.T, math="strict", transpose_b=False)  # (3, 4) @ (4, 5)
    assert near(found, np.asarray(a[::2, ::2]), np.asarray(b.T))


def test_reference_products_use_the_library_too(device: CupyDevice, library: FakeCublasLt) -> None:
    a, b = random((3, 5), "float32"), random((4, 5), "float32")
    assert near(device.xp.matmul(a, b.T), np.asarray(a), np.asarray(b).T)
    assert library.ran > 0


def test_what_the_library_lacks_is_done_in_parts(device: CupyDevice, library: FakeCublasLt) -> None:
    library.scarce = True
    a, b, bias = random((3, 5), "bfloat16"), random((4, 5), "bfloat16"), random((4,), "bfloat16")
    found = device.product(a, b, math="strict", transpose_b=True, bias=bias)
    expected = a.astype("float64") @ b.astype("float64").T + bias.astype("float64")
    assert library.ran == 0
    assert np.linalg.norm(found - expected) <= tolerance("bfloat16", 5) * np.linalg.norm(expected)


def test_the_choice_of_an_algorithm_is_kept(fake: Fake, device: CupyDevice, library: FakeCublasLt) -> None:
    a = random((3, 3), "float32")
    times = iter([5.0, 2.0])
    fake.module.cuda.get_elapsed_time = lambda begin, end: next(times)
    device.product(a, a, math="strict")
    (kept,) = json.loads(Path(user_cache.folder(), device.products._file).read_bytes()).values()
    assert cublaslt.from_text(kept).algo[0] == 3  # the second that the library can run
    library.ran = 0
    CupyDevice(fake.module, 0, tune=True).product(a, a, math="strict")
    assert library.ran == 1


def test_an_algorithm_that_cannot_run_after_all_is_not_chosen(
    device: CupyDevice, library: FakeCublasLt, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply = library.cublasLtMatmul

    def fails_for_the_first(*arguments: Any) -> int:
        algorithm = arguments[12]._obj
        return 13 if algorithm.algo[0] == 1 else multiply(*arguments)

    monkeypatch.setattr(library, "cublasLtMatmul", fails_for_the_first)
    a = random((3, 3), "float32")
    assert near(device.product(a, a, math="strict"), np.asarray(a), np.asarray(a))


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"x": 3}'])
def test_a_damaged_choice_is_made_again(fake: Fake, content: bytes) -> None:
    device = CupyDevice(fake.module, 0, tune=True)
    user_cache.write(device.products._file, content)
    a = random((2, 2), "float32")
    CupyDevice(fake.module, 0, tune=True).product(a, a, math="strict")
    assert len(json.loads(Path(user_cache.folder(), device.products._file).read_bytes())) >= 1


def test_devices_of_one_process_choose_alike(fake: Fake, library: FakeCublasLt) -> None:
    """One that was there before the other chose reads what was chosen."""
    first, second = (CupyDevice(fake.module, 0, tune=True) for _ in range(2))
    a, times = random((3, 3), "float32"), iter([5.0, 2.0, 1.0, 2.0])
    fake.module.cuda.get_elapsed_time = lambda begin, end: next(times)
    chosen = []
    for device in (first, second):
        device.product(a, a, math="strict")
        chosen += [algorithm.algo[0] for _, algorithm in device.products._chosen.values()]  # type: ignore[misc]
    assert chosen[0] == chosen[1] == 3


def test_without_tuning_what_was_tuned_does_not_count(fake: Fake, library: FakeCublasLt) -> None:
    a, times = random((3, 3), "float32"), iter([5.0, 2.0])
    fake.module.cuda.get_elapsed_time = lambda begin, end: next(times)
    CupyDevice(fake.module, 0, tune=True).product(a, a, math="strict")
    plain = CupyDevice(fake.module, 0, tune=False)
    plain.product(a, a, math="strict")
    assert [algorithm.algo[0] for _, algorithm in plain.products._chosen.values()] == [1]  # type: ignore[misc]


def test_without_tuning_the_first_algorithm_runs(fake: Fake, library: FakeCublasLt) -> None:
    a = random((2, 2), "float32")
    CupyDevice(fake.module, 0, tune=False).product(a, a, math="strict")
    assert library.ran == 1
    assert list(user_cache.folder().iterdir()) == []


def test_descriptors_by_the_real_library() -> None:
    """As far as that goes without a driver; skipped where the library is not installed."""
    try:
        cublaslt.library()
    except BackendError as error:
        pytest.skip(str(error))
    kind = cublaslt.Product(8, 16, 4, False, True, "bfloat16", "bfloat16", "float32", True, True)
    plan = cublaslt.plan(kind)
    found, written = ctypes.c_int32(), ctypes.c_size_t()
    for attribute, expected in ((0, 68), (3, 1), (4, 0), (7, 4), (26, 14)):
        get = cublaslt.library().cublasLtMatmulDescGetAttribute
        assert get(plan.operation, attribute, ctypes.byref(found), 4, ctypes.byref(written)) == 0
        assert found.value == expected
