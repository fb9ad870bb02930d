"""The floating-point formats a candidate may compute in: read from the bits of its numbers, and rounded to.

A format is known by its name: "float64", "float32", "tf32" (operands of a GPU's float32 products: the range
of float32, the digits of float16), "float16", "bfloat16".
"""

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.testing.tolerance import ROUNDING

UNIT = {**ROUNDING, "tf32": 2.0**-11}
"""Format -> unit roundoff: half the distance from 1 to the next number."""

LADDER = ("float64", "float32", "tf32", "float16", "bfloat16")
"""From the most digits to the fewest."""

TELLING = 5
"""Fewer different numbers of more than `SHORT` binary digits than these do not tell a format."""

SHORT = 4
"""Numbers of so few binary digits (0, 1, 0.5) are in all formats, and tell none."""


def computed_in(precision: str) -> type:
    """The NumPy dtype in which sums of this precision are formed."""
    return np.float64 if precision == "float64" else np.float32


def stored_in(array: HostArray) -> str | None:
    """The narrowest storage format that holds every value; None when there are too few to tell.

    TF32 is no storage format: float16 is found in its place where the range allows it.
    """
    values = np.asarray(array)
    if values.dtype.name in ("bfloat16", "float16"):
        return values.dtype.name
    flat = values.reshape(-1)
    sample = np.unique(flat[:: max(1, flat.size // 4096)]).astype(np.float64)
    digits = np.frexp(sample)[0] * 2**SHORT
    if np.count_nonzero(digits != np.round(digits)) < TELLING:
        return None
    return next(name for name in ("bfloat16", "float16", "float32", "float64") if holds(name, flat))


def holds(name: str, values: HostArray) -> bool:
    """Whether every value is a number of this storage format."""
    values = np.asarray(values).reshape(-1)
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    with np.errstate(over="ignore", under="ignore"):
        few = values[:256]
        return all(np.array_equal(part.astype(dtype).astype(part.dtype), part) for part in (few, values))


def rounded(array: HostArray, precision: str) -> HostArray:
    """The nearest numbers of the format (ties to even), in the dtype of `array`."""
    if precision == "tf32":
        bits = np.asarray(array, np.float32).view(np.uint32)
        half = np.uint32(0x0FFF) + ((bits >> np.uint32(13)) & np.uint32(1))
        return ((bits + half) & np.uint32(0xFFFFE000)).view(np.float32).astype(array.dtype)
    if precision == "bfloat16":
        bits = np.asarray(array, np.float32).view(np.uint32)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)
    if np.dtype(precision).itemsize >= array.dtype.itemsize:
        return array
    with np.errstate(over="ignore"):
        return array.astype(precision).astype(array.dtype)
