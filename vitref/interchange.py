"""Arrays of other libraries, taken without a copy and given back as they came (DLPack).

Source: `__dlpack__`, `from_dlpack` and `__array_namespace__` of the Python array API standard, 2024.12.
"""

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from vitref.array import Array
from vitref.errors import ImageError

GiveBack: TypeAlias = Callable[[Array], Any]
"""An array of a backend -> an array of the caller's library, in the same memory."""

OLDER = ("torch", "cupy")
"""Libraries with `from_dlpack` whose arrays need not have `__array_namespace__`."""


def is_foreign(array: Any) -> bool:
    """Whether it is an array of another library than NumPy."""
    return hasattr(array, "__dlpack__") and not isinstance(array, (np.ndarray, np.generic))


def give_back(array: Any) -> GiveBack:
    """What makes results arrays of the library of `array`.

    Raises ImageError when the library neither follows the standard nor is one of `OLDER`.
    """
    package = type(array).__module__.partition(".")[0]
    if package in OLDER:
        library: Any = importlib.import_module(package)
    elif hasattr(array, "__array_namespace__"):
        library = array.__array_namespace__()
    else:
        raise ImageError(
            "image",
            found=f"an array of type {type(array).__module__}.{type(array).__qualname__}",
            expected=f"an array of NumPy, {', '.join(OLDER)}, or a library of the array API standard",
            remedy="Convert it first; numpy.asarray(...) makes a NumPy array of most others.",
        )
    function: GiveBack = library.from_dlpack
    return function
