"""Sums over the rows of a matrix on the device, in a fixed order: gradients of biases and of norms.

First chunks of rows, one block each, then the chunks: the same bits every time, without atomics.
"""

from typing import NamedTuple

from vitref.array import Array
from vitref.backends.cupy_kernels.device import Device, Dim, ceil_div, int32, int64, suffix
from vitref.backends.workspace import Scratch, fresh

THREADS = 256
ROWS_AT_ONCE = 8
"""A block's warps take rows in turn."""

BLOCKS = 1056
"""Eight for each of 132 multiprocessors; a fixed number, so that sums do not depend on the machine."""


class Chunks(NamedTuple):
    """How a matrix is shared out: (columns, chunks) of blocks, and the rows of a chunk."""

    grid: Dim
    rows: int


def chunks(rows: int, width: int, packed: int) -> Chunks:
    """For a matrix whose threads take `packed` columns each."""
    across = ceil_div(width, 32 * packed)
    most = max(1, BLOCKS // across)
    each = max(2 * ROWS_AT_ONCE, ceil_div(rows, most))
    return Chunks((across, ceil_div(rows, each), 1), each)


def packed(width: int, *arrays: Array | None) -> int:
    """Columns per thread, as `packable` in common.cuh decides: packs of 16 bytes where all are aligned."""
    given = [x for x in arrays if x is not None]
    fit = 16 // given[0].dtype.itemsize
    aligned = all(address(x) % 16 == 0 for x in given)
    return fit if width % fit == 0 and aligned else 1


def address(x: Array) -> int:
    """Of the first element: on the device, or in a NumPy array."""
    return int(x.ctypes.data) if hasattr(x, "ctypes") else int(x.data.ptr)


def column_sum(x: Array, *, out: Array, device: Device, ws: Scratch | None = None) -> Array:
    """`out` (width,) = the sum of the rows of x (rows, width), contiguous and of the same dtype; returned."""
    ws, (rows, width) = ws or fresh(device.empty), x.shape
    grid, each = chunks(rows, width, packed(width, x))
    partial = ws.scratch("partial", (grid[1], width), "float32")
    kernel = f"column_chunks_{suffix(x)}"
    size = (int64(rows), int32(width), int32(each))
    device.launch("column_sum", kernel, grid, (THREADS, 1, 1), x, partial, *size)
    total(partial, out, None, device=device)
    return out


def total(partial: Array, first: Array, second: Array | None, *, device: Device) -> None:
    """`first` = the sum of the rows of `partial` (parts, width); of (parts, 2, width) `second` too."""
    width = partial.shape[-1]
    grid = (ceil_div(width * (1 if second is None else 2), 32), 1, 1)
    sizes = (int32(partial.shape[0]), int32(width))
    kernel = f"column_total_{suffix(first)}"
    device.launch("column_sum", kernel, grid, (1024, 1, 1), partial, first, second, *sizes)
