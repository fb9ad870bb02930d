"""The graph on PyTorch: its tensors on any device, through array-api-compat, without kernels or autograd."""

import importlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import VOCABULARY, Array, HostArray
from vitref.backends.interface import Backend
from vitref.errors import BackendError

torch: Any = importlib.import_module("torch")
compat: Any = importlib.import_module("array_api_compat.torch")

PRODUCTS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
"""Whose `fp32_precision` says how the products of float32 matrices are computed."""

DTYPES = ("float32", "float64")
"""Where they exist. In 16 bits, statistics and sums of single operations would be rounded to 16 bits too."""


def create(device: str = "cpu") -> Backend:
    """The backend `torch` on a device by its name in PyTorch: "cpu", "cuda", "cuda:1", "mps".

    Raises BackendError when there is no such device here.
    """
    return _create(_device(device))


@cache
def _create(device: Any) -> Backend:
    return Backend(
        name="torch",
        xp=_namespace(device),
        from_host=partial(from_host, device=device),
        to_host=to_host,
        dtypes=tuple(dtype for dtype in DTYPES if _holds(device, dtype)),
        scope=partial(scope, device),
        from_dlpack=partial(from_dlpack, device=device),
        on_device=True,
        versions={
            "torch": torch.__version__,
            "array-api-compat": version("array-api-compat"),
            "device": _described(device),
        },
    )


def _namespace(device: Any) -> Any:
    functions = {name: getattr(compat, name) for name in VOCABULARY if name != "erf"}
    functions |= {name: partial(functions[name], device=device) for name in ("arange", "zeros")}
    return SimpleNamespace(**functions, erf=torch.erf)


def from_host(array: HostArray, dtype: str, *, device: Any) -> Array:
    """A copy: a tensor cannot share the memory of an array that is read-only."""
    return torch.from_numpy(np.array(array, dtype=dtype, order="C")).to(device)


def to_host(array: Array) -> HostArray:
    """A copy, which is the caller's own."""
    host: HostArray = array.detach().to("cpu", copy=True).numpy()
    return host


def from_dlpack(array: Any, *, device: Any) -> Array:
    """A tensor in the same memory. Raises BackendError when that is not on `device`."""
    try:
        tensor = array.detach() if isinstance(array, torch.Tensor) else torch.from_dlpack(array)
        found = f"memory of the device {tensor.device}"
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        tensor, found = None, f"one that PyTorch cannot take: {error}"
    if tensor is None or tensor.device != device:
        raise BackendError(
            "array",
            found=found,
            expected=f"one of the device {device}",
            remedy='Move it there, or give vitref.backends.get("torch", device=...) the device it is on.',
        )
    return tensor


def _device(name: Any) -> Any:
    """The device with its number. Raises BackendError unless numbers can be written there and read back."""
    try:
        numbers = torch.ones(1, device=name)
        assert numbers.cpu().item() == 1
    except Exception as error:  # PyTorch has a type for each way in which a device can be missing
        raise BackendError(
            "backend torch, device",
            found=f"{name!r}: {str(error).partition('. ')[0] or type(error).__name__}",
            expected="a device that this PyTorch can use",
            remedy='Leave it out for "cpu", or install a PyTorch and a driver for that device.',
        ) from error
    return numbers.device


def _holds(device: Any, dtype: str) -> bool:
    """Whether the device knows this dtype: Apple's has no float64."""
    try:
        torch.zeros(1, dtype=getattr(torch, dtype), device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def _described(device: Any) -> str:
    return f"{device}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


@contextmanager
def scope(device: Any) -> Iterator[None]:
    """No autograd, no autocast, no products in less than float32."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(EXACT_PRODUCTS)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise BackendError(
                f"device {device}",
                found=f"too little memory: {str(error).splitlines()[0]}",
                expected="memory for every activation of the batch",
                remedy="Give fewer images at a time.",
            ) from error


class _ExactProducts:
    """Turns TF32 and bfloat16 products of float32 matrices off while any pass runs, in any thread.

    PyTorch has one setting for the whole process: the first pass to begin saves it, the last one to end
    restores it.
    """

    def __init__(self) -> None:
        self._lock, self._passes = threading.Lock(), 0
        self._whole = "highest"
        self._each: list[tuple[Any, str]] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._passes:
                self._save()
                torch.set_float32_matmul_precision("highest")
            self._passes += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._passes -= 1
            if not self._passes:
                torch.set_float32_matmul_precision(self._whole)
                for library, precision in self._each:
                    library.fp32_precision = precision

    def _save(self) -> None:
        self._each = [(library, library.fp32_precision) for library in PRODUCTS]
        try:
            self._whole = torch.get_float32_matmul_precision()
        except RuntimeError:  # set library by library, which leaves this one at its default
            self._whole = "highest"


EXACT_PRODUCTS = _ExactProducts()
