"""The linear layer: one matrix product forward, two backward, and the column sum for the bias."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels.column_sum import column_sum
from vitref.backends.cupy_kernels.device import Device, contiguous, count, refused_dtype
from vitref.backends.workspace import Scratch, fresh

PARAMS: tuple[str, ...] = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = False
SETTINGS = ("device", "math")


class Saved(NamedTuple):
    """x as a matrix, its shape, the weight as (O, I), and whether there is a bias."""

    rows: Array
    shape: tuple[int, ...]
    weight: Array
    biased: bool


def refuses(x: Array, *, device: Device, math: str) -> str | None:
    return refused_dtype(x) or ("no elements" if count(x.shape) == 0 else None)


def forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    device: Device,
    math: str,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    rows = as_rows(x, device)
    y = device.product(rows, contiguous(weight, device), transpose_b=True, bias=bias, math=math)
    saved = Saved(rows, tuple(x.shape), weight, bias is not None) if keep else None
    return xp.reshape(y, (*x.shape[:-1], weight.shape[0])), saved


def backward(
    dy: Array, saved: Saved, *, device: Device, math: str, xp: Namespace, ws: Any = None
) -> tuple[Array, Array, Array | None]:
    rows, shape, weight, biased = saved
    dy_rows = as_rows(dy, device)
    dx = device.product(dy_rows, contiguous(weight, device), math=math)
    dweight, dbias = parameter_gradients(dy_rows, rows, biased, device=device, math=math, ws=ws)
    return xp.reshape(dx, shape), dweight, dbias


def parameter_gradients(
    dy: Array, x: Array, biased: bool, *, device: Device, math: str, ws: Scratch | None = None
) -> tuple[Array, Array | None]:
    """dweight (O, I) and dbias (O,), None without a bias, of matrices dy (M, O) and x (M, I)."""
    ws = ws or fresh(device.empty)
    dweight = weight_gradient(dy, x, device=device, math=math, ws=ws)
    if not biased:
        return dweight, None
    out = ws.out("bias", (dy.shape[1],), dy.dtype)
    return dweight, column_sum(dy, out=out, device=device, ws=ws)


def weight_gradient(dy: Array, x: Array, *, device: Device, math: str, ws: Scratch) -> Array:
    """dweight (O, I) of matrices dy (M, O) and x (M, I)."""
    out = ws.out("weight", (dy.shape[1], x.shape[1]), dy.dtype)
    return device.product(dy, x, transpose_a=True, math=math, out=out)


def as_rows(x: Array, device: Device) -> Array:
    """All leading axes as one, elements in row order."""
    x = contiguous(x, device)
    return device.xp.reshape(x, (count(x.shape[:-1]), x.shape[-1]))
