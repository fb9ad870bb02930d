"""The reference backend: NumPy, no kernels. Every other backend is measured against it."""

import numpy as np

from vitref.array import NUMPY, Array, HostArray
from vitref.backends.interface import Backend


def create() -> Backend:
    """The backend `numpy`; it has no options."""
    return Backend(
        name="numpy", xp=NUMPY, from_host=from_host, to_host=to_host, dtypes=("float32", "float64")
    )


def from_host(array: HostArray, dtype: str) -> Array:
    return array.astype(dtype, copy=False)


def to_host(array: Array) -> HostArray:
    return np.asarray(array)
