"""The reference backend: NumPy and the components as they stand; every other backend is measured against it.

Its only kernel runs those components block by block where a sequence is long.
"""

import functools
from typing import Any

import numpy as np

from vitref.array import NUMPY, Array, HostArray
from vitref.backends.interface import Backend
from vitref.backends.numpy_kernels import attention_core
from vitref.errors import BackendError


@functools.cache
def create() -> Backend:
    """The backend `numpy`; it has no options."""
    return Backend(
        name="numpy",
        xp=NUMPY,
        from_host=from_host,
        to_host=to_host,
        dtypes=("float32", "float64"),
        kernels={"attention_core": attention_core},
        from_dlpack=from_dlpack,
    )


def from_host(array: HostArray, dtype: str) -> Array:
    return array.astype(dtype, copy=False)


def to_host(array: Array) -> HostArray:
    return np.asarray(array)


def from_dlpack(array: Any) -> HostArray:
    """An array of another library in the host's memory, as NumPy's; not copied.

    Raises BackendError when it lies on a device, or NumPy has no such dtype.
    """
    try:
        return np.from_dlpack(array)
    except Exception as error:  # each library raises its own
        raise BackendError(
            "image",
            found=f"an array of type {type(array).__module__}.{type(array).__qualname__} that NumPy "
            f"cannot read: {error}",
            expected="an array in the host's memory, of a dtype that NumPy has, without gradient",
            remedy="Detach it, move it to the host or convert it, or use the backend of its device.",
        ) from None
