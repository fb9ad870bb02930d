"""A float32 matrix as two TF32 parts side by side: what makes one TF32 product as accurate as float32.

The parts are made anew for each product: a cached copy would go stale when training changes a weight in
place, and costs a small fraction of the product.
"""

from vitref.array import Array
from vitref.backends.cupy_kernels.device import Device, ceil_div, int32, int64

THREADS = 256


def split(x: Array, *, rows_summed: bool, right: bool, device: Device) -> Array:
    """The parts of a contiguous x (R, C), one after the other along the summed axis: (3 R, C) or (R, 3 C).

    rows_summed  whether the product sums over the rows of x
    right        whether x is the right operand
    """
    rows, columns = x.shape
    y = device.empty((3 * rows, columns) if rows_summed else (rows, 3 * columns), x.dtype)
    packed = columns % 4 == 0
    grid = (ceil_div(rows * columns, THREADS * (4 if packed else 1)), 1, 1)
    kernel = "split_packed_f32" if packed else "split_f32"
    numbers = int64(rows), int32(columns), int32(rows_summed), int32(right)
    device.launch("split", kernel, grid, (THREADS, 1, 1), x, y, *numbers)
    return y
