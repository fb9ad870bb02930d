"""The attention core by kernels that never form the (T, T) matrices, forward and backward.

q, k, v are read where they lie, as views of the product that made them, and the result is written in the
layout (N, T, heads, d), so that neither splitting nor merging heads moves anything. What is saved: the
inputs, the result, and for each query the logarithm of its softmax's sum. Sources: Dao et al. 2022,
arXiv:2205.14135; Dao 2023, arXiv:2307.08691. `attend` and `attend_backward` are for other kernels.
"""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import attention_plan as plan
from vitref.backends.cupy_kernels.device import (
    Device,
    contiguous,
    float32,
    int32,
    int64,
    refused_dtype,
    suffix,
)
from vitref.backends.workspace import fresh
from vitref.components import scores

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ("scores", "softmax", "attn_drop", "context")
ADDS = False
SETTINGS = ("device", "math")


class Saved(NamedTuple):
    """q, k, v, y: (N, heads, T, d); lse: (N, heads, T rounded up to a multiple of 4), base 2."""

    q: Array
    k: Array
    v: Array
    y: Array
    lse: Array


def refuses(q: Array, k: Array, v: Array, *, rate: float, device: Device, math: str) -> str | None:
    if rate:
        return "dropout of attention weights"
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[-1] != k.shape[-1]:
        return "shapes other than (N, heads, T, d)"
    if not all((*q.shape, k.shape[-2])):
        return "an empty array"
    if plan.padded(q.shape[-1]) is None:
        return f"heads of width {q.shape[-1]}; up to {plan.WIDTHS[-1]} there are kernels"
    return refused_dtype(q, k, v) or _unplanned(q, k, device, math)


def forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    rate: float,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
    device: Device,
    math: str,
) -> tuple[Array, Saved | None]:
    """y: (N, heads, T, d), a view of memory in the order (N, T, heads, d)."""
    ws = ws or fresh(device.empty)
    y = merged(device, q.shape, q.dtype)
    lse = ws.empty("lse", lse_shape(q), "float32") if keep else None
    attend(device, math, q, k, v, y, lse)
    return y, Saved(q, k, v, y, lse) if keep else None


def backward(
    dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device, math: str
) -> tuple[Array, Array, Array]:
    """dq, dk, dv: of as many queries as keys, views of one array in the order (N, T, 3, heads, d)."""
    ws = ws or fresh(device.empty)
    q, k, _, _, lse = saved
    if q.shape == k.shape:
        images, heads, tokens, width = q.shape
        whole = device.empty((images, tokens, 3, heads, width), q.dtype)
        parts = device.xp.permute_dims(whole, (2, 0, 3, 1, 4))
        dq, dk, dv = parts[0], parts[1], parts[2]
    else:
        dq, dk, dv = (merged(device, x.shape, x.dtype) for x in (q, k, k))
    attend_backward(device, math, dy, saved, (dq, dk, dv), ws.scratch("delta", lse.shape, lse.dtype))
    return dq, dk, dv


def merged(device: Device, shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised (N, heads, T, d) array, a view of memory in the order (N, T, heads, d)."""
    images, heads, tokens, width = shape
    return device.xp.permute_dims(device.empty((images, tokens, heads, width), dtype), (0, 2, 1, 3))


def lse_shape(q: Array) -> tuple[int, int, int]:
    """Of the log-sums: a row has a whole number of 16-byte packs."""
    images, heads, queries, _ = q.shape
    return images, heads, -(-queries // 4) * 4


def attend(device: Device, math: str, q: Array, k: Array, v: Array, y: Array, lse: Array | None) -> None:
    """Write softmax(q k^T / sqrt(d)) v into `y`, and the log-sums into `lse` unless it is None.

    q, y: (N, heads, queries, d), k, v: (N, heads, keys, d), of any strides but for a contiguous last axis
    in `y`; lse: `lse_shape(q)`, float32.
    """
    q, k, v = _readable(device, q), *_alike(device, k, v)
    chosen = _forward_plan(q, k, device, math)
    assert chosen is not None
    _launch(device, chosen, q, k, [q, k, v, y, lse], [q, k, y])


def attend_backward(
    device: Device, math: str, dy: Array, saved: Saved, out: tuple[Array, Array, Array], delta: Array
) -> None:
    """Write the cotangents of q, k and v into `out`.

    Their last axis is contiguous, and those of k and v have the same strides. `delta` is as `saved.lse`;
    anything may be in it. `dy` may have any strides.
    """
    dq, dk, dv = out
    q, k, v = _readable(device, saved.q), *_alike(device, saved.k, saved.v)
    y, lse, dy = saved.y, saved.lse, _readable(device, dy)
    chosen = _backward_plan(q, k, device, math)
    assert chosen is not None
    assert dk.strides == dv.strides
    for one in chosen:
        _launch(device, one, q, k, [q, k, v, y, dy, lse, delta, dq, dk, dv], [q, k, y, dy, dq, dk])


def _forward_plan(q: Array, k: Array, device: Device, math: str) -> plan.Plan | None:
    width = plan.padded(q.shape[-1])
    assert width is not None
    return plan.forward(suffix(q), math, width, q.shape[-2], k.shape[-2], _limit(device))


def _backward_plan(q: Array, k: Array, device: Device, math: str) -> tuple[plan.Plan, ...] | None:
    width = plan.padded(q.shape[-1])
    assert width is not None
    return plan.backward(suffix(q), math, width, q.shape[-2], k.shape[-2], _limit(device))


def _unplanned(q: Array, k: Array, device: Device, math: str) -> str | None:
    """Why no kernel fits the device."""
    if _forward_plan(q, k, device, math) is None or _backward_plan(q, k, device, math) is None:
        return f"{_limit(device)} bytes of shared memory per block are too few for heads of {q.shape[-1]}"
    return None


def _launch(
    device: Device, chosen: plan.Plan, q: Array, k: Array, arrays: list[Array | None], strided: list[Array]
) -> None:
    """Run a kernel on `arrays`; `strided` are those whose strides it takes."""
    images, heads, queries, width = q.shape
    source = f"attention_{plan.padded(width)}" + ("_f32" if suffix(q) == "f32" else "")
    sizes = [int32(n) for n in (queries, k.shape[-2], heads, width)]
    device.launch(
        source,
        chosen.kernel,
        (images * heads * chosen.blocks, 1, 1),
        (chosen.threads, 1, 1),
        *arrays,
        *sizes,
        float32(scores.scale(q)),
        *(int64(step // x.dtype.itemsize) for x in strided for step in x.strides[:3]),
        shared=chosen.shared,
    )


def _limit(device: Device) -> int:
    """Bytes of shared memory that one block may have."""
    return int(getattr(device, "shared_limit", plan.SHARED_LIMIT))


def _readable(device: Device, x: Array) -> Array:
    """`x`, or a copy where the elements of a row do not lie side by side."""
    size = x.dtype.itemsize
    side_by_side = x.shape[-1] == 1 or x.strides[-1] == size
    return x if side_by_side and not any(step % size for step in x.strides) else contiguous(x, device)


def _alike(device: Device, a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays of one shape with the same strides."""
    a, b = _readable(device, a), _readable(device, b)
    if a.strides == b.strides:
        return a, b
    return contiguous(a, device), contiguous(b, device)
