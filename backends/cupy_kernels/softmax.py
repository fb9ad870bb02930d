"""Softmax over the last axis on the device: cuda/softmax.cu. Attention has a kernel of its own."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace, require_shape
from vitref.backends.cupy_kernels.device import (
    Device,
    ceil_div,
    contiguous,
    count,
    int32,
    int64,
    refused_dtype,
    suffix,
)

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False

HELD = 512
"""Elements of a row that one warp holds; a wider row takes more warps, up to 8."""

WIDEST = 8 * HELD


class Saved(NamedTuple):
    y: Array


def refuses(x: Array, *, device: Device) -> str | None:
    if x.ndim == 0 or not count(x.shape):
        return "no elements"
    if x.shape[-1] > WIDEST:
        return f"{x.shape[-1]} elements in a row; up to {WIDEST}"
    return refused_dtype(x)


def forward(
    x: Array, *, xp: Namespace, ws: Any = None, keep: bool = True, device: Device
) -> tuple[Array, Saved]:
    x = contiguous(x, device)
    y = device.empty(tuple(x.shape), x.dtype)
    _run("softmax_forward", device, x, y)
    return y, Saved(y)


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device) -> tuple[Array]:
    require_shape("dy", dy, tuple(saved.y.shape))
    dx = device.empty(tuple(dy.shape), dy.dtype)
    _run("softmax_backward", device, contiguous(dy, device), saved.y, dx)
    return (dx,)


def _run(kernel: str, device: Device, *arrays: Array) -> None:
    width, rows = arrays[0].shape[-1], count(arrays[0].shape[:-1])
    warps = ceil_div(width, HELD)
    together = 4 if warps == 1 else 1
    grid, block = (ceil_div(rows, together), 1, 1), (32 * warps * together, 1, 1)
    sizes = (int64(rows), int32(width), int32(warps))
    device.launch("softmax", f"{kernel}_{suffix(arrays[0])}", grid, block, *arrays, *sizes)
