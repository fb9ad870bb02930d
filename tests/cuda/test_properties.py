"""The property suite on the CUDA kernels, run on the CPU. test_rounding.py has what more holds in 16 bits."""

import dataclasses

import pytest

from tests.cuda.host import host_backend
from vitref.backends.cupy_kernels import COMPONENTS
from vitref.testing import suite

DTYPES = ("float32", "bfloat16", "float16")
"""float64 runs through the references."""

TESTED = [name for name in COMPONENTS if name in suite.COMPONENTS]


@pytest.mark.parametrize("check", [*suite.CHECKS, *suite.KERNEL_CHECKS])
@pytest.mark.parametrize("component", TESTED)
def test_property(component: str, check: str) -> None:
    backend = dataclasses.replace(host_backend(), dtypes=DTYPES)
    suite.verify(component, check, backend, part=backend.kernels[component], share=0.2)
