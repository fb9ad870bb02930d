"""LayerNorm on the device: cuda/layer_norm.cu.

Keeps x, which the residual stream holds anyway, with mean and 1 / deviation of each row in float32. The way
back adds the cotangent of the residual in the same pass over memory.
"""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace, require_shape
from vitref.backends.cupy_kernels.column_sum import BLOCKS, total
from vitref.backends.cupy_kernels.device import (
    Device,
    ceil_div,
    contiguous,
    count,
    float32,
    int32,
    int64,
    refused_dtype,
    suffix,
)
from vitref.backends.workspace import fresh

PARAMS = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = True

HELD = 1024
"""Elements of a row that one warp holds; a wider row takes more warps, up to 8."""

WIDEST = 8 * HELD
HELD_BACKWARD = 256
MANY = 528
"""Rows from which on four share a block."""


class Saved(NamedTuple):
    """x and weight; mean and r of each row, (rows,) in float32."""

    x: Array
    mean: Array | None
    r: Array | None
    weight: Array


def refuses(x: Array, *, eps: float, device: Device) -> str | None:
    if x.ndim == 0 or not count(x.shape):
        return "nothing to normalise"
    if x.shape[-1] > WIDEST:
        return f"{x.shape[-1]} elements in a row; up to {WIDEST}"
    return refused_dtype(x)


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    eps: float,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
    device: Device,
) -> tuple[Array, Saved]:
    width, rows = x.shape[-1], count(x.shape[:-1])
    require_shape("weight", weight, (width,))
    require_shape("bias", bias, (width,))
    ws, x = ws or fresh(device.empty), contiguous(x, device)
    y = device.empty(tuple(x.shape), x.dtype)
    mean, r = (ws.empty(role, (rows,), "float32") if keep else None for role in ("mean", "r"))
    warps = ceil_div(width, HELD)
    together = 4 if warps == 1 and rows >= MANY else 1
    grid, block = (ceil_div(rows, together), 1, 1), (32 * warps * together, 1, 1)
    sizes = (int64(rows), int32(width), float32(eps), int32(warps))
    parameters = (contiguous(weight, device), contiguous(bias, device))
    kernel = f"layer_norm_forward_{suffix(x)}"
    device.launch("layer_norm", kernel, grid, block, x, *parameters, y, mean, r, *sizes)
    return y, Saved(x, mean, r, parameters[0])


def backward(
    dy: Array,
    saved: Saved,
    *,
    xp: Namespace,
    ws: Any = None,
    add: Array | None = None,
    device: Device,
) -> tuple[Array, Array, Array]:
    x, mean, r, weight = saved
    require_shape("dy", dy, tuple(x.shape))
    ws, width, rows = ws or fresh(device.empty), x.shape[-1], count(x.shape[:-1])
    dx = device.empty(tuple(x.shape), x.dtype)
    blocks = min(BLOCKS, ceil_div(rows, 4))
    partial = ws.scratch("partial", (blocks, 2, width), "float32")
    arrays = (contiguous(dy, device), x, mean, r, weight, None if add is None else contiguous(add, device))
    block = (32 * ceil_div(width, HELD_BACKWARD), 1, 1)
    kernel, sizes = f"layer_norm_backward_{suffix(x)}", (int64(rows), int32(width))
    device.launch("layer_norm", kernel, (blocks, 1, 1), block, *arrays, dx, partial, *sizes)
    dweight, dbias = (ws.out(name, (width,), weight.dtype) for name in PARAMS)
    total(partial, dweight, dbias, device=device)
    return dx, dweight, dbias
