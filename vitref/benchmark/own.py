"""vitref itself, through its public functions, on any of its backends."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from vitref import api, backends
from vitref.backends.interface import Backend
from vitref.benchmark import cuda
from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Build, Program
from vitref.weights import Weights


def build(name: str) -> Build:
    """How vitref is built on the backend of this name."""
    return lambda problem, case: _program(backends.get(name), problem, case)


def _program(backend: Backend, problem: Problem, case: Case) -> Program:
    weights, versions = Weights(problem.tensors, problem.config), dict(backend.versions)
    settings = {"backend": backend, "dtype": case.dtype, "precision": case.precision}
    if case.device == "cpu":
        reuse = backend.empty is not None
        call = _pass(weights, problem.image, problem, case, settings, reuse)
        return Program(call, versions=versions)
    cupy: Any = importlib.import_module("cupy")
    image = backend.from_host(problem.image, case.dtype)
    call = cuda.synchronised_cupy(cupy, _pass(weights, image, problem, case, settings, False))
    return Program(call, cupy.asnumpy, cuda.cupy_meter(cupy), cuda.describe_cupy(cupy), versions)


def _pass(
    weights: Weights, image: Any, problem: Problem, case: Case, settings: Mapping[str, Any], reuse: bool
) -> Callable[[], Any]:
    """`reuse`: as in a loop of training, gradients are written into those of the run before."""
    if case.direction == "forward":
        return lambda: api.forward(weights, image, **settings)
    previous: Any = None

    def gradients() -> Any:
        nonlocal previous
        result = api.backward(weights, image, problem.labels, out=previous, **settings)
        previous = result if reuse else None
        return result.weights

    return gradients
