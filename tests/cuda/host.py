"""The CUDA kernels on the CPU: `HostDevice` compiles them by g++ with `shim.h` and runs them on NumPy arrays.

`host_backend` is a whole backend on it, so that models run through the very kernel modules that a GPU uses.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from vitref.array import NUMPY, Array, HostArray, Namespace
from vitref.backends import cupy_kernels
from vitref.backends.cupy_kernels.adamw import adamw
from vitref.backends.cupy_kernels.device import Dim
from vitref.backends.cupy_runtime import nvrtc
from vitref.backends.interface import Backend

SHIM = Path(__file__).parent
CUDA = Path(cupy_kernels.__file__).parent / "cuda"
FLAGS = (
    *("-x", "c++", "-std=c++17", "-O1", "-g1", "-w", "-shared", "-fPIC"),
    *("-U_FORTIFY_SOURCE", "-fno-gnu-unique", "-fvisibility=hidden"),  # libraries side by side share nothing
)
SANITIZERS = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")

MATHS = ("strict", "fp32x3", "tf32")


HEADERS = ("cuda_bf16.h", "crt/host_defines.h", "nv/target")


def include_folder() -> Path | None:
    """Where the headers lie that a C++ compiler reads, which are more than NVRTC's; None if nowhere.

    Of NVIDIA's wheels it takes three, `cuda-toolkit[cccl,crt,cudart]`.
    """
    for folder in nvrtc.include_folders():
        if all((folder / name).is_file() for name in HEADERS):
            return folder
    return None


def unavailable() -> str | None:
    """Why the kernels cannot run on this CPU; None when they can."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    if include_folder() is None:
        return "CUDA's headers are in none of CUDA_PATH, CUDA_HOME, NVIDIA's wheels and /usr/local/cuda"
    return None


def compiled(source: str, folder: Path = CUDA, flags: tuple[str, ...] = ()) -> Path:
    """The shared library of one source file; made once for each content of what it is made of."""
    headers = {*folder.glob("*.cuh"), *CUDA.glob("*.cuh")}
    parts = [folder / f"{source}.cu", *sorted(headers), SHIM / "shim.h"]
    words = ("g++", *FLAGS, *flags, f"-I{include_folder()}")
    content = [" ".join(words).encode(), *(part.read_bytes() for part in parts)]
    cache = Path(tempfile.gettempdir()) / f"vitref-cuda-host-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    library = cache / f"{source}-{hashlib.sha256(repr(content).encode()).hexdigest()[:20]}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        folders = (f"-I{SHIM}", f"-I{folder}", f"-I{CUDA}")
        subprocess.run([*words, *folders, str(parts[0]), "-o", str(partial)], check=True)
        partial.rename(library)
    return library


@functools.cache
def library(source: str, folder: Path, flags: tuple[str, ...]) -> ctypes.CDLL:
    return ctypes.CDLL(str(compiled(source, folder, flags)))


class Launch(ctypes.Structure):
    """`shim::Launch`."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_int64),
        ("order", ctypes.c_int32),
    ]


class Value(ctypes.Union):
    _fields_ = [
        ("pointer", ctypes.c_void_p),
        ("int32", ctypes.c_int32),
        ("int64", ctypes.c_int64),
        ("float32", ctypes.c_float),
        ("float64", ctypes.c_double),
    ]


class Argument(ctypes.Structure):
    """`shim::Argument`."""

    _fields_ = [
        ("type", ctypes.c_char * 16),
        ("is_array", ctypes.c_int32),
        ("is_writable", ctypes.c_int32),
        ("value", Value),
    ]


def argument(value: Any) -> Argument:
    """An array, a NumPy number, or None for a null pointer. Raises TypeError for anything else."""
    if value is None:
        return Argument(b"", 1, 1, Value(pointer=None))
    if isinstance(value, np.ndarray):
        found = Argument(str(value.dtype).encode(), 1, value.flags.writeable)
        found.value.pointer = value.ctypes.data
        return found
    if not isinstance(value, np.int32 | np.int64 | np.float32 | np.float64):
        raise TypeError(
            f"an argument is {value!r}, a kernel takes arrays, NumPy's int32, int64, float32 and float64"
        )
    found = Argument(str(value.dtype).encode(), 0, 0)
    setattr(found.value, str(value.dtype), value.item())
    return found


class HostDevice:
    """A `Device` of NumPy arrays (16-bit ones of ml_dtypes).

    order    of the threads and blocks: 0 forwards, 1 backwards, any other number shuffled by it; with 0 and 1
             each warp runs as far ahead of the others as it can
    folder   of the sources; the product's where it lacks one
    flags    further ones for g++: `SANITIZERS`
    """

    xp: Namespace = NUMPY

    def __init__(self, order: int = 0, folder: Path = CUDA, flags: tuple[str, ...] = ()) -> None:
        self.order, self.folder, self.flags = order, folder, flags
        self.launched: set[str] = set()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Full of NaN, or -1: what a kernel forgets to write shows."""
        array = np.empty(shape, dtype)
        np.reshape(array, -1).view(np.uint8)[...] = 0xFF
        return array

    def launch(
        self, source: str, kernel: str, grid: Dim, block: Dim, *arguments: Any, shared: int = 0
    ) -> None:
        """Raises RuntimeError when the arguments are not those of the kernel, or its threads hang."""
        folder = self.folder if (self.folder / f"{source}.cu").exists() else CUDA
        entry = getattr(library(source, folder, self.flags), f"host_{kernel}")
        entry.restype = ctypes.c_char_p
        how = Launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared, self.order)
        given = (Argument * len(arguments))(*map(argument, arguments))
        problem = entry(ctypes.byref(how), given, len(arguments))
        if problem is not None:
            raise RuntimeError(f"{kernel}: {problem.decode()}")
        self.launched.add(kernel)

    def product(
        self,
        a: Array,
        b: Array,
        *,
        math: str,
        transpose_a: bool = False,
        transpose_b: bool = False,
        bias: Array | None = None,
        residual: Array | None = None,
        out: Array | None = None,
        dtype: Any = None,
    ) -> Array:
        y = multiplied(a.T if transpose_a else a, b.T if transpose_b else b, math)
        for term in (bias, residual):
            if term is not None:
                y = y + term.astype(np.float32)
        if out is None:
            return y.astype(a.dtype if dtype is None else dtype)
        out[...] = y.astype(out.dtype)
        return out


def multiplied(a: HostArray, b: HostArray, math: str) -> HostArray:
    """The product in float32, its operands rounded as in this math; 16-bit operands are exact in it."""
    if math not in MATHS:
        raise ValueError(f"math is {math!r}, expected one of {MATHS}")
    if a.dtype != np.float32 or math == "strict":
        return np.asarray(a.astype(np.float32) @ b.astype(np.float32))
    a_high, b_high = tf32(a), tf32(b)
    if math == "tf32":
        return np.asarray(a_high @ b_high)
    a_low, b_low = tf32(a - a_high), tf32(b - b_high)
    left = np.concatenate([a_low, a_high, a_high], axis=1)
    return np.asarray(left @ np.concatenate([b_high, b_low, b_high], axis=0))


def tf32(x: HostArray) -> HostArray:
    """Rounded to 10 bits after the leading one, ties away from zero: cvt.rna.tf32."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@functools.cache
def host_backend(order: int = 0, math: str = "strict", flags: tuple[str, ...] = ()) -> Backend:
    """A backend whose kernels are the CUDA kernels, run on the CPU in this order of their threads."""
    device = HostDevice(order, flags=flags)
    return Backend(
        name=f"cuda on the host, order {order}",
        xp=device.xp,
        from_host=lambda array, dtype: array.astype(dtype, copy=False),
        to_host=np.asarray,
        dtypes=("float32", "float64", "bfloat16", "float16"),
        precision=(math,),
        kernels=cupy_kernels.kernels(device, math),
        empty=device.empty,
        rules={"adamw": functools.partial(adamw, device=device)},
        versions={"ml_dtypes": str(ml_dtypes.__version__)},
    )
