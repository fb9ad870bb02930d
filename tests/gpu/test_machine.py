"""What this GPU can do at most: copies and products of random numbers, measured before all else."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.gpu.conftest import Note
from vitref.backends.interface import Backend

pytestmark = pytest.mark.gpu

SIZE, SMALL_SIZE = 8192, 64
ROUNDS = 5

KINDS = {
    "bfloat16": ("bfloat16", "strict"),
    "float16": ("float16", "strict"),
    "tf32": ("float32", "tf32"),
    "fp32x3": ("float32", "fp32x3"),
    "float32": ("float32", "strict"),
}
"""Name -> dtype of the operands, and how they are multiplied."""

VIT_B = {"qkv": (2304, 768), "proj": (768, 768), "fc1": (3072, 768), "fc2": (768, 3072)}
"""Products of a ViT-B/16 block: (n, k); m is images x 197 tokens."""


def device(backend: Backend) -> Any:
    """The object of `vitref.backends.cupy_runtime.device` behind a backend."""
    return backend.scope.__self__  # type: ignore[attr-defined]


def seconds(backend: Backend, call: Callable[[], Any]) -> float:
    """The median time of a call, waited for."""
    times = []
    with backend.scope():
        for _ in range(ROUNDS + 2):
            device(backend).stream.synchronize()
            start = time.perf_counter()
            call()
            device(backend).stream.synchronize()
            times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def random(backend: Backend, shape: tuple[int, int], dtype: str) -> Any:
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return backend.from_host(values, dtype)


def test_versions(backend: Backend, note: Note) -> None:
    free, total = device(backend).cuda_device.mem_info
    note("versions", dict(backend.versions))
    note("memory", {"free GiB": round(free / 2**30, 1), "total GiB": round(total / 2**30, 1)})
    assert total > 0


def test_copies(backend: Backend, note: Note, quick: bool) -> None:
    x = random(backend, (2**10, 2**8 if quick else 2**18), "float32")
    note("copy, GB/s read and written", round(2 * x.nbytes / seconds(backend, x.copy) / 1e9))


@pytest.mark.parametrize("kind", KINDS)
def test_products(backend: Backend, note: Note, quick: bool, kind: str) -> None:
    size, (dtype, math) = SMALL_SIZE if quick else SIZE, KINDS[kind]
    a, b = random(backend, (size, size), dtype), random(backend, (size, size), dtype)
    taken = seconds(backend, lambda: device(backend).product(a, b, math=math))
    note(f"{kind} product of {size}, TFLOP/s", round(2 * size**3 / taken / 1e12, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_a_model(backend: Backend, note: Note, quick: bool, kind: str) -> None:
    dtype, math = KINDS[kind]
    for images in (1,) if quick else (57, 64, 256):
        m = images * 197
        for name, (n, k) in VIT_B.items():
            a, b = random(backend, (m, k), dtype), random(backend, (n, k), dtype)
            taken = seconds(backend, partial(device(backend).product, a, b, math=math, transpose_b=True))
            note(f"{kind} {name} for {images} images, TFLOP/s", round(2 * m * n * k / taken / 1e12, 1))


@pytest.mark.parametrize(("kind", "most"), [("float32", 2e-6), ("fp32x3", 2e-6), ("tf32", 2e-3)])
def test_errors_of_products(backend: Backend, note: Note, stand_in: bool, kind: str, most: float) -> None:
    """float32 is not TF32 behind our back, and three TF32 products are as good as one of float32."""
    dtype, math = KINDS[kind]
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((512, 3072)).astype(dtype) for _ in range(2))
    exact = a.astype("float64") @ b.astype("float64").T
    operands = backend.from_host(a, dtype), backend.from_host(b, dtype)
    with backend.scope():
        y = backend.to_host(device(backend).product(*operands, math=math, transpose_b=True))
    error = float(np.linalg.norm(y - exact) / np.linalg.norm(exact))
    note(f"{kind} product, relative L2 error at k = 3072", error)
    assert error <= most
    assert stand_in or kind != "tf32" or error > 1e-5, "this is not TF32"
