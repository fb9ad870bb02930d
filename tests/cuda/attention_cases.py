"""Attention problems for the tests of the CUDA kernels, and their exact results."""

from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  (gives NumPy the name bfloat16)
import numpy as np

from tests.cuda.host import HostDevice
from vitref.array import NUMPY, HostArray
from vitref.backends.cupy_kernels import attention_core as kernel
from vitref.components import context, scores, softmax

Arrays = tuple[HostArray, ...]


class Case(NamedTuple):
    """Sizes of a problem. keys None: as many as queries; limit: bytes of shared memory of the device."""

    queries: int
    width: int
    keys: int | None = None
    heads: int = 2
    images: int = 1
    limit: int = 227 * 1024


class Problem(NamedTuple):
    """q, k, v as views of one array, as `split_heads` gives them, and dy as `merge_heads` does."""

    q: HostArray
    k: HostArray
    v: HostArray
    dy: HostArray


def problem(case: Case, dtype: str) -> Problem:
    rng = np.random.default_rng(0)
    keys = case.keys or case.queries
    tokens = max(case.queries, keys)
    qkv = rng.standard_normal((case.images, tokens, 3, case.heads, case.width)).astype(dtype)
    dy = rng.standard_normal((case.images, case.queries, case.heads, case.width)).astype(dtype)
    for array in (qkv, dy):
        array.setflags(write=False)
    q, k, v = np.permute_dims(qkv, (2, 0, 3, 1, 4))
    return Problem(q[:, :, : case.queries], k[:, :, :keys], v[:, :, :keys], np.permute_dims(dy, (0, 2, 1, 3)))


def exact(given: Problem) -> Arrays:
    """y, dq, dk, dv by the components in float64."""
    q, k, v, dy = (a.astype("float64") for a in given)
    weights, of_softmax = softmax.forward(scores.forward(q, k)[0])
    y, of_context = context.forward(weights, v)
    dweights, dv = context.backward(dy, of_context)
    dq, dk = scores.backward(softmax.backward(dweights, of_softmax).x, scores.Saved(q, k))
    return y, dq, dk, dv


def by_kernel(given: Problem, math: str, device: HostDevice) -> Arrays:
    """y, dq, dk, dv by the CUDA kernels."""
    settings: dict[str, Any] = {"device": device, "math": math}
    reason = kernel.refuses(*given[:3], rate=0.0, **settings)
    assert reason is None, reason
    y, saved = kernel.forward(*given[:3], rate=0.0, xp=NUMPY, **settings)
    assert saved is not None
    return (y, *kernel.backward(given.dy, saved, xp=NUMPY, **settings))


def solved(case: Case, dtype: str, math: str = "strict", order: int = 0) -> tuple[Arrays, HostDevice]:
    """y, dq, dk, dv by the kernels, and the device that ran them."""
    device = limited(case.limit, order)
    return by_kernel(problem(case, dtype), math, device), device


def limited(limit: int, order: int = 0, **options: Any) -> HostDevice:
    """A device with so many bytes of shared memory for a block."""
    device: Any = HostDevice(order, **options)
    device.shared_limit = limit
    return device  # type: ignore[no-any-return]


def error(found: HostArray, expected: HostArray) -> float:
    difference = found.astype("float64") - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


KERNELS: dict[tuple[str, str], tuple[tuple[Case, str], ...]] = {
    ("bfloat16", "strict"): (
        (Case(70, 24, keys=130), "forward_208 backward_208"),
        (Case(70, 27, keys=209, heads=1), "forward_272 backward_queries backward_keys"),
        (Case(150, 27, keys=290, heads=1), "forward backward_queries backward_keys"),
        (Case(130, 24, keys=100, limit=40_000, heads=1), "forward backward_queries backward_keys"),
    ),
    ("float32", "strict"): ((Case(70, 20, keys=130), "forward backward_queries backward_keys"),),
    ("float32", "tf32"): ((Case(70, 24, keys=100), "forward backward_queries backward_keys"),),
    ("float32", "fp32x3"): ((Case(40, 9, keys=70), "forward backward_queries backward_keys"),),
}
"""(dtype, math) -> cases that among them run every kernel of heads of up to 32, and which they run."""


def kernels(dtype: str, math: str, names: str) -> set[str]:
    """The kernels of these short names."""
    end = {"bfloat16": "bf16", "float16": "f16", "float32": f"{math}_f32"}[dtype]
    return {f"attention_{name}_{end}" for name in names.split()}
