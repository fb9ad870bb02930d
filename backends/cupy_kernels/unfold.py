"""Images to rows of patches on the device: cuda/patchify.cu, also straight from bytes."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace, require_shape
from vitref.backends.cupy_kernels.device import (
    Device,
    ceil_div,
    contiguous,
    count,
    int32,
    refused_dtype,
    suffix,
)

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False

THREADS = 256
SHARES = 64
"""At most so many blocks share the pixels of a channel, or the patches of a row of them."""


class Saved(NamedTuple):
    image_shape: tuple[int, int, int, int]
    patch_size: tuple[int, int]


def refuses(image: Array, *, patch_size: tuple[int, int], device: Device) -> str | None:
    if image.ndim != 4 or image.shape[2] < patch_size[0] or image.shape[3] < patch_size[1]:
        return f"an image of shape {tuple(image.shape)}"
    if not count(image.shape):
        return "no pixels"
    return refused_dtype(image)


def forward(
    image: Array,
    *,
    patch_size: tuple[int, int],
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
    device: Device,
) -> tuple[Array, Saved]:
    image = contiguous(image, device)
    n, c, height, width = shape = tuple(image.shape)
    y = _rows(shape, patch_size, image.dtype, device)
    sizes = map(int32, (c, height, width, *patch_size))
    device.launch("patchify", f"unfold_{suffix(image)}", _grid(y, shape, patch_size), BLOCK, image, y, *sizes)
    return y, Saved(shape, patch_size)


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device) -> tuple[Array]:
    (n, c, height, width), (h, w) = saved
    require_shape("dy", dy, (n, (height // h) * (width // w), c * h * w))
    dy, dimage = contiguous(dy, device), device.empty(saved.image_shape, dy.dtype)
    grid = (n * c, _shares(height * width * dy.dtype.itemsize), 1)
    sizes = map(int32, (c, height, width, h, w))
    device.launch("patchify", f"fold_{suffix(dy)}", grid, BLOCK, dy, dimage, *sizes)
    return (dimage,)


def from_bytes(pixels: Array, table: Array, *, patch_size: tuple[int, int], device: Device) -> Array:
    """Rows of patches of uint8 pixels (N, H, W, C), each replaced by table[channel, value].

    table  (C, 256), what normalisation makes of each value, in the dtype of the result
    """
    pixels, table = contiguous(pixels, device), contiguous(table, device)
    n, height, width, c = pixels.shape
    require_shape("table", table, (c, 256))
    shape = (n, c, height, width)
    y = _rows(shape, patch_size, table.dtype, device)
    sizes = map(int32, (c, height, width, *patch_size))
    kernel, grid = f"unfold_bytes_{suffix(table)}", _grid(y, shape, patch_size)
    device.launch("patchify", kernel, grid, BLOCK, pixels, table, y, *sizes)
    return y


BLOCK = (THREADS, 1, 1)


def _rows(shape: tuple[int, ...], patch_size: tuple[int, int], dtype: Any, device: Device) -> Array:
    (n, c, height, width), (h, w) = shape, patch_size
    return device.empty((n, (height // h) * (width // w), c * h * w), dtype)


def _grid(y: Array, shape: tuple[int, ...], patch_size: tuple[int, int]) -> tuple[int, int, int]:
    (n, _, height, _), (h, _) = shape, patch_size
    strips = n * (height // h)
    return strips, _shares(count(y.shape) // strips * y.dtype.itemsize), 1


def _shares(size: int) -> int:
    """Blocks for so many bytes, 16 per thread."""
    return min(SHARES, ceil_div(size, 16 * THREADS))
