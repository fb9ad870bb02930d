"""Arrays of other libraries, taken without a copy and given back as they came (DLPack).

Source: `__dlpack__`, `from_dlpack` and `__array_namespace__` of the Python array API standard, 2024.12.
"""

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from vitref.array import Array, HostArray
from vitref.errors import ConfigError, ImageError

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
    packages = {kind.__module__.partition(".")[0] for kind in type(array).__mro__}
    older = [package for package in OLDER if package in packages]
    if older:
        library: Any = importlib.import_module(older[0])
    elif hasattr(array, "__array_namespace__"):
        library = array.__array_namespace__()
    else:
        raise ImageError(
            "image",
            found=f"an array of type {kind(array)}",
            expected=f"an array of NumPy, {', '.join(OLDER)}, or a library of the array API standard",
            remedy="Convert it first; numpy.asarray(...) makes a NumPy array of most others.",
        )
    function: GiveBack = library.from_dlpack
    return function


def given_back(function: GiveBack, array: Array) -> Any:
    """The array in the caller's library. Raises ConfigError when that has no such dtype."""
    result = function(array)
    expected, found = (str(x.dtype).rpartition(".")[2] for x in (array, result))
    if found != expected:
        raise ConfigError(
            "dtype",
            found=f"a result in {expected}, of which {kind(result)} makes {found}",
            expected="a library that holds it as it is",
            remedy="Give a NumPy image, or let the library hold it (JAX: jax_enable_x64).",
        )
    return result


def on_host(what: str, array: Any) -> Any:
    """An array of another library as NumPy's; anything else as it is.

    Raises ConfigError when it is not in the host's memory.
    """
    if not is_foreign(array):
        return array
    try:
        host: HostArray = np.from_dlpack(array)
    except Exception as error:  # each library raises its own
        raise ConfigError(
            what,
            found=f"an array of type {kind(array)} that NumPy cannot read ({error})",
            expected="an array in the host's memory",
            remedy="Give it as a NumPy array; for a torch tensor, tensor.detach().cpu().numpy().",
        ) from None
    return host


def kind(array: Any) -> str:
    """The type of an array, with its module."""
    return f"{type(array).__module__}.{type(array).__qualname__}"
