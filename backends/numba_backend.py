"""The accelerated CPU: NumPy arrays, compiled row loops, and a team of threads over single-threaded BLAS."""

import functools
import importlib
import os
from importlib.metadata import version
from math import inf
from types import ModuleType
from typing import Any

import numpy as np

from vitref.array import NUMPY
from vitref.backends.interface import Backend, bound
from vitref.backends.numpy_backend import from_dlpack, from_host, to_host
from vitref.errors import BackendError

MOST_THREADS = 1024
"""More would rather be a slip of the pen: each is a thread of this process."""

LIBRARIES = ("numba", "threadpoolctl")

ROW_BY_ROW = ("attention_core", "cross_entropy", "gelu", "layer_norm", "softmax")
PRODUCTS = ("block", "linear", "mlp", "patch_projection")
"""Components with a kernel of that name in `vitref.backends.numba_kernels`."""


def create(threads: int | None = None, images_per_product: int | None = None) -> Backend:
    """The backend `numba`; equal options give the same object.

    threads             how many threads work on a pass; as many as this process may use cores, unless given
    images_per_product  how many images are multiplied by a weight at once, each group by one thread; as
                        many as is fastest, unless given

    Results are bitwise repeatable for given options and a given batch. With images_per_product=1 an
    image's output and gradient do not depend on the images beside it, at the cost of some speed.
    Raises BackendError when an option is not a whole number of at least 1, ModuleNotFoundError when a
    library is missing.
    """
    _require_number("threads", threads, "one thread per core", MOST_THREADS)
    _require_number("images_per_product", images_per_product, "the number that is fastest")
    return _backend(threads or cores(), images_per_product)


@functools.cache
def _backend(threads: int, images_per_product: int | None) -> Backend:
    for library in LIBRARIES:
        importlib.import_module(library)
    team = _module("team")
    settings = {"team": team.Team(threads)}
    kernels = {name: bound(_module(name), **settings) for name in ROW_BY_ROW}
    kernels |= {name: bound(_module(name), **settings, together=images_per_product) for name in PRODUCTS}
    return Backend(
        name="numba",
        xp=NUMPY,
        from_host=from_host,
        to_host=to_host,
        dtypes=("float32", "float64"),
        kernels=kernels,
        empty=np.empty,
        scope=_module("blas").limited,
        from_dlpack=from_dlpack,
        rules={"adamw": functools.partial(_module("adamw").adamw, **settings)},
        versions={name: version(name) for name in (*LIBRARIES, "llvmlite", "numpy")},
    )


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _require_number(option: str, given: Any, otherwise: str, most: float = inf) -> None:
    if given is not None and (type(given) is not int or not 1 <= given <= most):
        raise BackendError(
            f"backend numba, {option}",
            found=repr(given),
            expected="a whole number of at least 1" + (f" and at most {most}" if most < inf else ""),
            remedy=f"Give such a number, or leave it out for {otherwise}.",
        )


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"vitref.backends.numba_kernels.{name}")
