"""Arrays of other libraries as NumPy arrays, in the dtype that they have."""

import sys
from typing import Any

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.errors import ConfigError, ImageError

FLOATS = ("float64", "float32", "float16", "bfloat16")


def from_torch(tensor: Any) -> HostArray:
    """A tensor's values on the host; they may share its memory. bfloat16 stays bfloat16."""
    torch = sys.modules["torch"]
    host = tensor.detach().cpu()
    if host.dtype == torch.bfloat16:
        array: HostArray = host.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return array
    array = host.resolve_neg().numpy()
    return array


def from_any(what: str, array: Any) -> HostArray:
    """An array of any library: NumPy's, torch's, CuPy's, lists, or what has `__array__` or `__dlpack__`.

    Raises ConfigError for anything else, and for what is neither of floats nor of integers.
    """
    found = _converted(what, array)
    if found.dtype.kind not in "fiu" and found.dtype != ml_dtypes.bfloat16:
        raise _wrong(what, f"values of dtype {found.dtype}")
    return found


def image_of(image: Any) -> HostArray:
    """A preprocessed image as an array, (N, C, H, W). Raises ImageError for anything else."""
    array = from_any("image", image)
    if array.ndim not in (3, 4) or not is_float(array):
        raise ImageError(
            "image",
            found=f"shape {array.shape}, dtype {array.dtype}",
            expected="floats (C, H, W) or (N, C, H, W), preprocessed",
            remedy="Preprocess the pictures first, with vitref.preprocess for example.",
        )
    return array[None] if array.ndim == 3 else array


def is_float(array: HostArray) -> bool:
    """Whether it is of a dtype that a tap can have."""
    return str(array.dtype) in FLOATS


def _converted(what: str, array: Any) -> HostArray:
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(array, torch.Tensor):
            return from_torch(array)
        if hasattr(array, "__cuda_array_interface__") and hasattr(array, "get"):
            return np.asarray(array.get())
        if hasattr(array, "__array__") or isinstance(array, (int, float, list, tuple)):
            return np.asarray(array)
        if hasattr(array, "__dlpack__"):
            return np.from_dlpack(array)
    except Exception as error:  # each library raises its own
        raise _wrong(what, f"a {_kind(array)} that NumPy cannot read ({error})") from None
    raise _wrong(what, f"a {_kind(array)}")


def _wrong(what: str, found: str) -> ConfigError:
    return ConfigError(
        what,
        found=found,
        expected="an array of floating-point numbers (NumPy, torch, CuPy, JAX, or what has __array__)",
        remedy="Return arrays, or convert them with numpy.asarray.",
    )


def _kind(array: Any) -> str:
    return f"{type(array).__module__}.{type(array).__qualname__}"
