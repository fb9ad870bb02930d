"""What the CUDA kernel modules ask of the device they run on, and what they all need beside it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vitref.array import Array, Namespace

SUFFIX = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""dtype -> how the names of its kernels end; float64 has none."""

Dim = tuple[int, int, int]


class Device(Protocol):
    """Memory, kernels and matrix products: a GPU, or in tests a stand-in that runs the kernels on the CPU."""

    xp: Namespace

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array with anything in it."""
        ...

    def launch(
        self, source: str, kernel: str, grid: Dim, block: Dim, *arguments: Any, shared: int = 0
    ) -> None:
        """Run a kernel of cuda/SOURCE.cu; `shared` bytes of dynamic shared memory.

        Arguments in the kernel's order: arrays of the device, of which a pointer is passed; np.int32,
        np.int64, np.float32 or np.float64 exactly as in the kernel's signature; None for a null pointer.
        """
        ...

    def product(
        self,
        a: Array,
        b: Array,
        *,
        math: str,
        transpose_a: bool = False,
        transpose_b: bool = False,
        bias: Array | None = None,
        residual: Array | None = None,
        out: Array | None = None,
        dtype: Any = None,
    ) -> Array:
        """op(a) @ op(b), row-major matrices; plus `bias` to each row, plus `residual`. Sums in float32.

        math    how float32 is multiplied: "strict", "fp32x3" or "tf32"; ignored for 16-bit operands
        dtype   of the result; that of `a` unless given
        """
        ...


def suffix(x: Array) -> str:
    """How the names of the kernels for this array's dtype end."""
    return SUFFIX[str(x.dtype)]


def refused_dtype(*arrays: Array | None) -> str | None:
    """Why no kernel takes these arrays; None when one does."""
    names = sorted({str(x.dtype) for x in arrays if x is not None})
    if len(names) > 1:
        return f"dtypes that differ: {', '.join(names)}"
    if names and names[0] not in SUFFIX:
        return f"{names[0]}: the reference runs"
    return None


def contiguous(x: Array, device: Device) -> Array:
    """The array itself where its elements lie one after the other in row order, else a copy."""
    if x.flags.c_contiguous:
        return x
    copy = device.empty(tuple(x.shape), x.dtype)
    copy[...] = x
    return copy


def count(shape: Sequence[int]) -> int:
    """How many elements."""
    product = 1
    for length in shape:
        product *= int(length)
    return product


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def int32(value: int) -> np.int32:
    """For an argument of type int. Raises OverflowError when it does not fit."""
    return np.int32(value)


def int64(value: int) -> np.int64:
    """For an argument of type long long."""
    return np.int64(value)


def float32(value: float) -> np.float32:
    """For an argument of type float."""
    return np.float32(value)
