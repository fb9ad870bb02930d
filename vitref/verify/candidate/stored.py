"""Stored: one array of a file, known by name, shape and dtype, and read only when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.errors import CheckpointError

Change = Callable[[HostArray], HostArray]
"""A rearrangement of an array: no value changes."""

FLOATS = {np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
"""The dtypes that a tap may have."""


@dataclass(frozen=True)
class Stored:
    """name   in the file, as it stands there
    where  the file and the name, for messages
    shape, dtype   of what `load` returns
    load   () -> the array, read anew each time. Raises CheckpointError for damaged data
    """

    name: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], HostArray]

    def changed(self, change: Change) -> "Stored":
        """The same array rearranged. `change` is tried at once, on an array without memory of its own.

        Raises what `change` raises.
        """
        shape = shape_after(change, self.shape)
        return replace(self, shape=shape, load=lambda: change(self.load()))

    def read(self) -> HostArray:
        """The array, read-only, its values checked.

        Raises CheckpointError for damaged data and for values that are not finite.
        """
        array = self.load()
        check_finite(array, self.where)
        array = array.view()
        array.flags.writeable = False
        return array


def of_array(name: str, array: HostArray, where: str) -> Stored:
    """An array that is in memory already."""
    return Stored(name, where, tuple(array.shape), array.dtype, lambda: array)


def shape_after(change: Change, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `change` makes of an array of this shape, found without memory for one."""
    return tuple(change(np.broadcast_to(np.zeros((), np.int8), shape)).shape)


def check_dtype(stored: Stored) -> None:
    """Raise CheckpointError unless the array may be a tap: float64, float32, float16 or bfloat16."""
    if stored.dtype not in FLOATS:
        raise CheckpointError(
            stored.where,
            found=f"the dtype {stored.dtype}",
            expected="float64, float32, float16 or bfloat16",
            remedy="Write the numbers as the candidate computed them, in one of these dtypes; leave out what "
            "is no output of a step.",
        )


def check_finite(array: HostArray, where: str) -> None:
    """Raise CheckpointError when a value is NaN or infinite, naming the first."""
    finite = np.isfinite(array)
    if finite.all():
        return
    first = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
    count = int(finite.size - np.count_nonzero(finite))
    raise CheckpointError(
        where,
        found=f"{array[first]} at index {list(first)} ({count:,} of {finite.size:,} values are not finite)",
        expected="finite values",
        remedy="Look for the step that makes the first of them: an overflow in 16 bits, a division by zero, "
        "or memory that was never written.",
    )
