"""A backend whose arrays are not NumPy's, as on a device: array-api-strict, and a count of what is moved."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import scipy.special  # type: ignore[import-untyped]

from vitref.array import VOCABULARY, HostArray
from vitref.backends.interface import Backend
from vitref.errors import BackendError


def to_host(array: Any) -> HostArray:
    return np.from_dlpack(array).copy()


def from_host(array: HostArray, dtype: str) -> Any:
    return array_api_strict.asarray(array, dtype=getattr(array_api_strict, dtype), copy=True)


def erf(x: Any) -> Any:
    return from_host(scipy.special.erf(to_host(x)), str(x.dtype).rpartition(".")[2])


XP = SimpleNamespace(
    **{name: getattr(array_api_strict, name) for name in VOCABULARY if name != "erf"}, erf=erf
)


def from_dlpack(array: Any) -> Any:
    if not hasattr(array, "__array_namespace__"):
        raise BackendError("image", found="another device", expected="this one", remedy="Move it.")
    return array_api_strict.from_dlpack(array)


def device(**fields: Any) -> tuple[Backend, Counter[str]]:
    """The backend, and how often arrays went there ("in") and back ("out")."""
    moved: Counter[str] = Counter()

    def counted(way: str, function: Any) -> Any:
        def move(*arguments: Any) -> Any:
            moved[way] += 1
            return function(*arguments)

        return move

    defaults = {
        "name": "strict",
        "xp": XP,
        "from_host": counted("in", from_host),
        "to_host": counted("out", to_host),
        "dtypes": ("float32", "float64"),
        "on_device": True,
        "from_dlpack": from_dlpack,
    }
    return Backend(**{**defaults, **fields}), moved
