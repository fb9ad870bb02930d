"""The reference backend: NumPy and the components as they stand; every other backend is measured against it.

Its only kernel runs those components block by block where a sequence is long.
"""

import numpy as np

from vitref.array import NUMPY, Array, HostArray
from vitref.backends.interface import Backend
from vitref.backends.numpy_kernels import attention_core


def create() -> Backend:
    """The backend `numpy`; it has no options."""
    return Backend(
        name="numpy",
        xp=NUMPY,
        from_host=from_host,
        to_host=to_host,
        dtypes=("float32", "float64"),
        kernels={"attention_core": attention_core},
    )


def from_host(array: HostArray, dtype: str) -> Array:
    return array.astype(dtype, copy=False)


def to_host(array: Array) -> HostArray:
    return np.asarray(array)
