"""The GPU: CuPy arrays, kernels in CUDA C++, and matrix products by cuBLASLt."""

import functools
import importlib
from typing import Any

from vitref.backends import cupy_kernels
from vitref.backends.cupy_kernels.adamw import adamw
from vitref.backends.cupy_runtime.device import CupyDevice
from vitref.backends.cupy_runtime.graphs import LARGEST_BATCH, Recordings
from vitref.backends.interface import Backend
from vitref.errors import BackendError

PRECISION = ("strict", "fp32x3", "tf32")
INSTALL = 'Install it with pip install "vitref[cuda13]", or vitref[cuda12] for a driver of CUDA 12.'


def create(device: int = 0, graphs: bool | int = True, tune: bool = True) -> Backend:
    """The backend `cupy`; equal options give the same object.

    device  number of the GPU, as CUDA counts them
    graphs  whether small batches replay a CUDA graph of the forward pass; a number is the largest such
            batch (16 unless given)
    tune    whether the algorithm of each matrix product is the fastest of several that are timed once
            and kept in the user's cache; else it is cuBLAS's own first choice

    Raises BackendError when CuPy is not installed, or there is no such GPU that it can use.
    """
    if isinstance(device, bool) or not isinstance(device, int):
        raise _problem(repr(device), "the number of a GPU", "Give a number: 0 is the first.", ", device")
    if not isinstance(graphs, int) or graphs < 0:
        raise _problem(repr(graphs), "True, False or a largest batch", "Give one of these.", ", graphs")
    largest = LARGEST_BATCH if graphs is True else int(graphs)
    return _backend(device, largest, bool(tune))


@functools.cache
def _backend(index: int, largest_batch: int, tune: bool) -> Backend:
    cupy = _cupy()
    _check_device(cupy, index)
    return assembled(CupyDevice(cupy, index, tune=tune), largest_batch)


def assembled(device: CupyDevice, largest_batch: int) -> Backend:
    """The backend of this device; batches up to the largest are recorded, none where that is 0."""
    modes = {precision: cupy_kernels.kernels(device, precision) for precision in PRECISION}
    return Backend(
        name="cupy",
        xp=device.xp,
        from_host=device.from_host,
        to_host=device.to_host,
        dtypes=("float32", "bfloat16", "float16", "float64"),
        precision=PRECISION,
        kernels=modes["strict"],
        modes=modes,
        scope=device.scope,
        from_dlpack=device.from_dlpack,
        pixels=device.pixels,
        stages=True,
        on_device=True,
        replay=Recordings(device, largest_batch).replay if largest_batch else None,
        rules={"adamw": functools.partial(adamw, device=device)},
        versions=_versions(device),
    )


def _cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise _problem(f"CuPy missing or broken ({error})", "CuPy 14 or later", INSTALL) from error


def _check_device(cupy: Any, index: int) -> None:
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        raise _no_driver(runtime, error) from error
    if not 0 <= index < count:
        gpus = ", ".join(str(number) for number in range(count)) or "none: no GPU is visible"
        raise _problem(
            f"GPU {index}",
            f"one of those that CUDA sees ({gpus})",
            "Give another device=, or set CUDA_VISIBLE_DEVICES.",
            ", device",
        )


def _no_driver(runtime: Any, error: Exception) -> BackendError:
    """Why CUDA does not start: no driver, one that is too old, or something that it says itself."""
    driver, needed = _version(runtime.driverGetVersion()), _version(runtime.runtimeGetVersion())
    if driver == "0.0":
        return _problem(
            "no NVIDIA driver", "a driver and a GPU", "Install NVIDIA's driver, or use another backend."
        )
    if driver.partition(".")[0] < needed.partition(".")[0]:
        return _problem(
            f"a driver of CUDA {driver}",
            f"one of CUDA {needed.partition('.')[0]} or later, which this CuPy needs",
            "Update NVIDIA's driver, or install vitref[cuda12].",
        )
    return _problem(str(error), "a GPU that CUDA can use", "Remove the cause, or use another backend.")


def _versions(device: CupyDevice) -> dict[str, str]:
    cupy, runtime = device.cupy, device.cupy.cuda.runtime
    return {
        "cupy": str(cupy.__version__),
        "cuda": _version(runtime.runtimeGetVersion()),
        "driver": _version(runtime.driverGetVersion()),
        "cublaslt": str(device.products.version),
        "device": f"{device.name}, compute capability {device.capability / 10}",
    }


def _version(number: int) -> str:
    """As CUDA writes it: 13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _problem(found: str, expected: str, remedy: str, option: str = "") -> BackendError:
    return BackendError(f"backend cupy{option}", found=found, expected=expected, remedy=remedy)
