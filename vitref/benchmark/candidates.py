"""The candidates: for each, what it needs, which cases it can run, and how it is built."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vitref import api
from vitref.array import HostArray
from vitref.benchmark import jax_jit, onnx_runtime, torch_eager
from vitref.benchmark.case import Case, Problem
from vitref.weights import Weights

Build = Callable[[Problem, Case], Callable[[], Any]]
"""Returns the call that is timed: () -> logits, or parameter -> gradient, in any library's arrays."""


class Candidate(NamedTuple):
    """modules: what must be installed; dtypes and directions: what it can run."""

    modules: tuple[str, ...]
    dtypes: tuple[str, ...]
    directions: tuple[str, ...]
    build: Build

    def runs(self, case: Case) -> bool:
        return case.dtype in self.dtypes and case.direction in self.directions

    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]


def reference(problem: Problem, case: Case) -> Callable[[], Any]:
    """vitref itself, through its public functions."""
    weights = Weights(problem.tensors, problem.config)
    if case.direction == "forward":
        return lambda: api.forward(weights, problem.image, dtype=case.dtype)
    return lambda: api.backward(weights, problem.image, problem.labels, dtype=case.dtype).weights


BOTH_DTYPES, BOTH_DIRECTIONS = ("float32", "float64"), ("forward", "backward")

CANDIDATES = {
    "vitref": Candidate(("vitref", "numpy", "scipy"), BOTH_DTYPES, BOTH_DIRECTIONS, reference),
    "torch": Candidate(("torch",), BOTH_DTYPES, BOTH_DIRECTIONS, torch_eager.build),
    "jax": Candidate(("jax", "jaxlib"), BOTH_DTYPES, BOTH_DIRECTIONS, jax_jit.build),
    "onnxruntime": Candidate(
        ("onnxruntime", "torch", "onnx"), ("float32",), ("forward",), onnx_runtime.build
    ),
}
"""Name -> candidate; the first is vitref, the others are its peers."""

PEERS = tuple(name for name in CANDIDATES if name != "vitref")


def answer(result: Any) -> list[float]:
    """What candidates must agree on: the logits, or the L2 norm of each parameter's gradient, by name."""
    if isinstance(result, dict):
        return [float(np.linalg.norm(_host(result[name]))) for name in sorted(result)]
    return [float(value) for value in _host(result).ravel()]


def _host(array: Any) -> HostArray:
    return np.asarray(array, np.float64)
