"""The array vocabulary: the only functions that components may call, and the NumPy namespace.

A component receives `xp` and uses nothing but the names in `VOCABULARY`, the attributes `.shape
.ndim .dtype`, arithmetic operators (`@` included) and basic slicing. The names and their meaning
are those of the Python array API standard (2024.12), plus `erf`. A backend supplies the same names
from its own library. Left out on purpose: `var`, `std`, `abs`, `norm` (they drop the imaginary
part, so a complex-step check would pass through them silently wrong), `einsum`, anything in place,
and anything random.
"""

from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.special  # type: ignore[import-untyped]

Array: TypeAlias = Any
"""An array of the backend's library (NumPy, CuPy, ...)."""

Namespace: TypeAlias = Any
"""An object with the functions of `VOCABULARY` as attributes."""

HostArray: TypeAlias = npt.NDArray[Any]
"""A NumPy array."""

VOCABULARY = (
    "arange",
    "astype",
    "broadcast_to",
    "concat",
    "erf",
    "exp",
    "log",
    "log1p",
    "matmul",
    "matrix_transpose",
    "max",
    "mean",
    "permute_dims",
    "reshape",
    "sqrt",
    "stack",
    "sum",
    "tanh",
    "zeros",
)

NUMPY: Namespace = SimpleNamespace(
    **{name: getattr(np, name) for name in VOCABULARY if name != "erf"}, erf=scipy.special.erf
)


def require_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `array` has exactly `shape`: broadcasting would hide the mistake."""
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(array.shape)}, expected {shape}")
