"""The property suite of components, kernels and whole small models on the GPU."""

import dataclasses

import pytest

from vitref.backends.interface import Backend
from vitref.testing import backend as suite
from vitref.testing.models import MODEL_CHECKS, verify_model
from vitref.testing.suite import COMPONENTS

pytestmark = pytest.mark.gpu

WIDE, SHORT = ("float32", "float64"), ("bfloat16", "float16")


def share(quick: bool) -> float:
    """Of the 100 cases that a profile has for each property."""
    return 0.01 if quick else 0.06


def failing(
    backend: Backend, component: str, dtypes: tuple[str, ...], kernels: bool, part: float
) -> list[str]:
    """What a component, or the kernel in its place, does not hold."""
    subject = f"kernel {component}" if kernels else component
    narrow = dataclasses.replace(backend, dtypes=dtypes)
    tasks = (task for task in suite.part_tasks(narrow, part) if task[0] == subject)
    return [str(failure) for failure in suite.failures(tasks)]


def test_transfers(backend: Backend) -> None:
    with backend.scope():
        suite.transfers(backend)
    suite.transfers(backend)
    suite.vocabulary(backend)
    suite.dtypes(backend)


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_by_the_array_library(backend: Backend, quick: bool, component: str) -> None:
    assert failing(backend, component, WIDE, False, share(quick)) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_kernel(backend: Backend, quick: bool, component: str) -> None:
    """In 16 bits every component has one, were it only the reference in float32, rounded."""
    if component not in backend.kernels:
        pytest.skip("it only moves numbers")
    assert failing(backend, component, SHORT, True, share(quick)) == []
    if backend.kernels[component].refuses.__module__ != "vitref.backends.cupy_kernels.widened":
        assert failing(backend, component, ("float32",), True, share(quick)) == []


def model_checks() -> list[tuple[str, str]]:
    """What is refused is compared with the backend numpy, which has no 16 bits."""
    checks = [check for check in MODEL_CHECKS if check != "kernels_run"]
    return [(c, d) for c in checks for d in (*WIDE, *SHORT) if c != "refusals" or d in WIDE]


@pytest.mark.parametrize(("check", "dtype"), model_checks())
def test_models(backend: Backend, quick: bool, check: str, dtype: str) -> None:
    verify_model(dataclasses.replace(backend, dtypes=(dtype,)), check, share=share(quick) / 2)


def test_every_kernel_runs_in_some_model(backend: Backend) -> None:
    verify_model(dataclasses.replace(backend, dtypes=("bfloat16",)), "kernels_run", share=0.04)
