"""The whole CuPy backend on the CPU: stand-ins for CuPy and cuBLASLt, and the kernels by `HostDevice`.

    with stand_in() as backend: ...

What is real: everything of the backend but the driver's own work.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import scipy.special  # type: ignore[import-untyped]

from tests.backends.cupy.stand_ins import Fake, FakeCublasLt, of_arrays
from tests.cuda.host import HostDevice
from vitref.backends import cupy_backend
from vitref.backends.cupy_runtime import cublaslt
from vitref.backends.cupy_runtime.device import CupyDevice
from vitref.backends.interface import Backend


@contextmanager
def stand_in(order: int = 0) -> Iterator[Backend]:
    """The backend, with threads in this order; it records no graphs."""
    fake, library = Fake(), FakeCublasLt()
    fake.free = 2**40
    special: Any = SimpleNamespace(erf=of_arrays(scipy.special.erf))
    modules = mock.patch.dict(sys.modules, {"cupyx.scipy.special": special})
    cublaslt.plan.cache_clear()
    with modules, mock.patch.object(cublaslt, "library", return_value=library):
        device = CupyDevice(fake.module, 0, tune=False)
        with mock.patch.object(device, "launch", HostDevice(order).launch):
            yield cupy_backend.assembled(device, 0)
    cublaslt.plan.cache_clear()
