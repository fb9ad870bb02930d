"""NVIDIA's runtime compiler without a GPU: the library of the `nvidia-cuda-nvrtc` wheel, by ctypes."""

import ctypes
import sys
from pathlib import Path
from typing import Any

from tests.cuda.host import CUDA, include_folder
from vitref.backends.cupy_runtime.nvrtc import include_folders


class CompileError(Exception):
    """What the compiler wrote."""


def library_file() -> Path | None:
    """libnvrtc: of CUDA_PATH or CUDA_HOME, of NVIDIA's wheels, of /usr/local/cuda; None if nowhere."""
    roots = [folder.parent for folder in include_folders()]
    roots += [folder for path in sys.path for folder in Path(path).glob("nvidia/cuda_nvrtc")]
    return next((file for root in roots for file in _libraries(root)), None)


def _libraries(root: Path) -> list[Path]:
    files = [file for folder in ("lib", "lib64") for file in sorted((root / folder).glob("libnvrtc.so.*"))]
    return [file for file in files if "alt" not in file.name and "builtins" not in file.name]


class Nvrtc:
    """The compiler in one library. Raises OSError when it cannot be loaded."""

    def __init__(self, file: Path) -> None:
        for builtins in file.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(file))

    @property
    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, source: Path, architecture: str) -> tuple[bytes, str]:
        """The cubin, and what the assembler says of each kernel's registers. Raises CompileError."""
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text, name, 0, None, None)
        try:
            options = self._options(architecture)
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            failed = self._library.nvrtcCompileProgram(program, len(options), given)
            log = self._text(program, "nvrtcGetProgramLog").rstrip(b"\0").decode()
            if failed:
                raise CompileError(f"{source.name} for {architecture}:\n{log}")
            return self._text(program, "nvrtcGetCUBIN"), log
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _options(self, architecture: str) -> list[str]:
        folders = [f"-I{CUDA}", f"-I{include_folder()}"]
        return [f"--gpu-architecture={architecture}", "-std=c++17", "--ptxas-options=-v", *folders]

    def _text(self, program: ctypes.c_void_p, getter: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{getter}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(getter, program, buffer)
        return buffer.raw

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise CompileError(f"{name} returned {status}")
