"""GELU of a sum with a bias, and its way back, on the device: cuda/gelu.cu. Also for whole MLPs."""

from typing import Any

from vitref.array import Array
from vitref.backends.cupy_kernels.column_sum import chunks, packed, total
from vitref.backends.cupy_kernels.device import Device, ceil_div, count, int32, int64, suffix

FORMS = {"erf": 0, "tanh": 1, "quick": 2}
"""Form -> its number in the kernels; "quick" is x sigmoid(1.702 x)."""

THREADS = 256
MOST_BLOCKS = 2**20


def activated(
    x: Array, *, form: str, bias: Array | None = None, out: Array | None = None, device: Device
) -> Array:
    """gelu(x + bias): x (..., width) and bias (width,), contiguous; `out` may be x."""
    y = device.empty(tuple(x.shape), x.dtype) if out is None else out
    kernel = f"gelu_forward_{suffix(x)}"
    device.launch("gelu", kernel, _grid(x), (THREADS, 1, 1), x, bias, y, *_sizes(x, form))
    return y


def activated_back(
    dy: Array, x: Array, *, form: str, bias: Array | None = None, out: Array | None = None, device: Device
) -> Array:
    """dy gelu'(x + bias); `out` may be dy."""
    dx = device.empty(tuple(x.shape), x.dtype) if out is None else out
    kernel = f"gelu_backward_{suffix(x)}"
    device.launch("gelu", kernel, _grid(x), (THREADS, 1, 1), dy, x, bias, dx, *_sizes(x, form))
    return dx


def activated_back_with_bias(
    dy: Array,
    x: Array,
    dbias: Array,
    *,
    form: str,
    bias: Array | None = None,
    out: Array | None = None,
    ws: Any,
    device: Device,
) -> Array:
    """The same; `dbias` becomes the sum of the rows of dx (before its rounding), in a fixed order.

    x already contains the bias where `bias` is None.
    """
    rows, width = count(x.shape[:-1]), int(x.shape[-1])
    dx = device.empty(tuple(x.shape), x.dtype) if out is None else out
    grid, each = chunks(rows, width, packed(width, dy, x, bias, dx))
    partial = ws.scratch("partial", (grid[1], width), "float32")
    sizes = (int64(rows), int32(width), int32(each), int32(FORMS[form]))
    kernel = f"gelu_backward_bias_{suffix(x)}"
    device.launch("gelu", kernel, grid, (THREADS, 1, 1), dy, x, bias, dx, partial, *sizes)
    total(partial, dbias, None, device=device)
    return dx


def _grid(x: Array) -> tuple[int, int, int]:
    return min(MOST_BLOCKS, ceil_div(count(x.shape), THREADS * (16 // x.dtype.itemsize))), 1, 1


def _sizes(x: Array, form: str) -> tuple[Any, ...]:
    width = int(x.shape[-1]) if x.ndim else 1
    return int64(count(x.shape)), int32(width), int32(FORMS[form])
