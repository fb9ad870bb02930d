"""CUDA sources to machine code: by NVRTC, once for each content, GPU and compiler."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vitref.backends import cupy_kernels
from vitref.backends.cupy_runtime import user_cache
from vitref.errors import BackendError

SOURCES = Path(cupy_kernels.__file__).parent / "cuda"
OLDEST = 80
"""Compute capability 8.0: bfloat16, and asynchronous copies to shared memory."""


def compiled(nvrtc: Any, source: str, capability: int) -> Path:
    """The file of the compiled cuda/SOURCE.cu: in the user's cache, else in a temporary folder.

    nvrtc        the module `cupy.cuda.nvrtc`
    capability   of the GPU, as in 90 for 9.0

    Raises BackendError when the GPU is too old, CUDA's headers are missing, or the compiler fails.
    """
    target = _target(nvrtc, capability)
    options = (
        f"--gpu-architecture={target}",
        "--std=c++17",
        "--fmad=true",
        f"--include-path={SOURCES}",
        f"--include-path={include_folder()}",
    )
    name = f"{source}-{target}-{_fingerprint(nvrtc, source, options[:3])}"
    if not user_cache.read(f"kernels/{name}"):
        made = _compile(nvrtc, source, options, target.startswith("sm"))
        if not user_cache.write(f"kernels/{name}", made):
            return _temporary(name, made)
    return user_cache.folder() / "kernels" / name


def _target(nvrtc: Any, capability: int) -> str:
    """What to compile for: this GPU, or code for an older one that the driver translates."""
    if capability < OLDEST:
        raise _problem(
            f"a GPU of compute capability {capability / 10}",
            f"at least {OLDEST / 10} (NVIDIA Ampere, 2020)",
            "Use a newer GPU, or another backend.",
        )
    known = sorted(int(arch) for arch in nvrtc.getSupportedArchs())
    if capability in known:
        return f"sm_{capability}"
    return f"compute_{max(arch for arch in known if arch < capability)}"


def _fingerprint(nvrtc: Any, source: str, options: tuple[str, ...]) -> str:
    """Of everything that the result depends on."""
    files = [SOURCES / f"{source}.cu", *sorted(SOURCES.glob("*.cuh"))]
    parts = [repr((nvrtc.getVersion(), options)).encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _temporary(name: str, content: bytes) -> Path:
    path = Path(tempfile.mkdtemp(prefix="vitref-")) / name
    path.write_bytes(content)
    return path


def _compile(nvrtc: Any, source: str, options: tuple[str, ...], to_machine_code: bool) -> bytes:
    text = (SOURCES / f"{source}.cu").read_text(encoding="utf-8")
    program = nvrtc.createProgram(text, f"{source}.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        made = nvrtc.getCUBIN(program) if to_machine_code else nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise _problem(
            f"{source}.cu, which NVRTC {nvrtc.getVersion()} does not compile: {error}\n{log}",
            "a CUDA compiler of 12.0 or later",
            "Report this, with the message.",
        ) from error
    finally:
        nvrtc.destroyProgram(program)
    return made if isinstance(made, bytes) else str(made).encode()


def include_folders() -> Iterator[Path]:
    """Where CUDA's headers may lie: CUDA_PATH or CUDA_HOME, NVIDIA's wheels, /usr/local/cuda."""
    named = [Path(os.environ[name]) / "include" for name in ("CUDA_PATH", "CUDA_HOME") if name in os.environ]
    wheels = [
        folder
        for path in sys.path
        for pattern in ("nvidia/cu*/include", "nvidia/cuda_runtime/include")
        for folder in sorted(Path(path or ".").glob(pattern), reverse=True)
    ]
    yield from (*named, *wheels, Path("/usr/local/cuda/include"))


@cache
def include_folder() -> Path:
    """Where cuda_bf16.h lies. Raises BackendError when it lies nowhere."""
    for folder in include_folders():
        if (folder / "cuda_bf16.h").is_file():
            return folder
    raise _problem(
        "no cuda_bf16.h",
        "CUDA's headers",
        'Install them: pip install "vitref[cuda13]" (or cuda12).',
    )


def _problem(found: str, expected: str, remedy: str) -> BackendError:
    return BackendError("backend cupy", found=found, expected=expected, remedy=remedy)
