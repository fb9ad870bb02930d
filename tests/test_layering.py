"""Who may import whom: `LAYERS` is the rule, and every import of the project is read off its source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FACTS = {
    "vitref.errors",
    "vitref.array",
    "vitref.config",
    "vitref.conventions",
    "vitref.json_files",
    "vitref.masks",
    "vitref.preprocessing",
    "vitref.processors",
    "vitref.resampling",
}
REFERENCE = {"vitref.array", "vitref.components", "vitref.run", "vitref.graph"}
BACKENDS = {"vitref.backends", "vitref.backends.interface", "vitref.backends.workspace"}
BELOW_API = FACTS | REFERENCE | BACKENDS | {"vitref.weights", "vitref.images"}
API = {"vitref", "vitref.api", "vitref.call", "vitref.drawn", "vitref.recording"}
BACKEND = BACKENDS | {"vitref.array", "vitref.components", "vitref.errors", "numpy"}

LAYERS: dict[str, set[str]] = {
    "vitref.errors": set(),
    "vitref.array": {"numpy", "scipy"},
    "vitref.conventions": {"vitref.errors"},
    "vitref.resampling": {"numpy"},
    "vitref.masks": {"vitref.errors", "numpy"},
    "vitref.labels": {"vitref.array", "vitref.errors", "numpy"},
    "vitref.config": {"vitref.errors", "vitref.conventions", "vitref.resampling"},
    "vitref.json_files": {"vitref.errors"},
    "vitref.processors": {"vitref.errors", "vitref.conventions"},
    "vitref.preprocessing": FACTS,
    "vitref.components": {"vitref.array"},
    "vitref.run": {"vitref.errors", "vitref.array"},
    "vitref.graph": FACTS | {"vitref.components", "vitref.run"},
    "vitref.backends": BACKEND,
    "vitref.backends.interface": {"vitref.array", "vitref.backends.workspace"},
    "vitref.backends.workspace": {"vitref.array"},
    "vitref.backends.numba_backend": BACKEND
    | {"vitref.backends.numba_kernels", "vitref.backends.numpy_backend"},
    "vitref.backends.numba_kernels": BACKEND | {"vitref.graph", "numba", "llvmlite", "threadpoolctl"},
    "vitref.backends.cupy_backend": BACKEND
    | {"vitref.backends.cupy_runtime", "vitref.backends.cupy_kernels", "cupy", "cupyx", "ml_dtypes"},
    "vitref.backends.cupy_runtime": BACKEND
    | {"vitref.backends.cupy_kernels", "cupy", "cupyx", "cuda", "ml_dtypes"},
    "vitref.backends.cupy_kernels": BACKEND | {"vitref.graph", "ml_dtypes"},
    "vitref.backends.torch_backend": BACKEND | {"torch", "array_api_compat", "ml_dtypes"},
    "vitref.backends.jax_backend": BACKEND | {"jax", "ml_dtypes"},
    "vitref.weights": FACTS | BACKENDS | {"vitref.components", "numpy", "ml_dtypes", "safetensors"},
    "vitref.images": FACTS | {"numpy", "PIL"},
    "vitref.testing": BELOW_API | API | {"numpy", "ml_dtypes", "hypothesis", "pytest"},
    "vitref.recording": FACTS | {"vitref.weights", "numpy"},
    "vitref.drawn": {
        "vitref.array",
        "vitref.config",
        "vitref.errors",
        "vitref.masks",
        "vitref.weights",
        "numpy",
    },
    "vitref.call": BELOW_API
    | {"vitref.interchange", "vitref.labels", "vitref.recording", "numpy", "ml_dtypes"},
    "vitref.interchange": {"vitref.array", "vitref.errors", "numpy"},
    "vitref.streaming": {"vitref.array", "vitref.call"},
    "vitref.api": BELOW_API | {"vitref.call", "vitref.recording", "vitref.streaming", "numpy", "ml_dtypes"},
    "vitref.training": BELOW_API | API | {"numpy", "rich", "sklearn"},
    "vitref.benchmark": BELOW_API | API | {"vitref.testing", "numpy", "rich"},
    "vitref.benchmark.diagnosis": BELOW_API
    | API
    | {"vitref.benchmark", "vitref.testing", "vitref.verify", "numpy", "ml_dtypes", "rich", "PIL"},
    "vitref.verify": BELOW_API
    | API
    | {"vitref.interchange", "vitref.labels", "vitref.testing", "numpy", "scipy", "ml_dtypes", "hypothesis"},
    "vitref.verify.reports": {
        "vitref",
        "vitref.array",
        "vitref.verify",
        "vitref.weights",
        "numpy",
        "PIL",
        "rich",
    },
    "vitref.cli": BELOW_API
    | API
    | {"vitref.benchmark", "vitref.benchmark.diagnosis", "vitref.testing", "vitref.training"}
    | {"vitref.verify", "vitref.verify.reports"}
    | {"numpy", "rich", "PIL"},
    "vitref.__main__": {"vitref.cli"},
    "vitref": FACTS | BACKENDS | {"vitref.api", "vitref.recording", "vitref.weights", "vitref.verify"},
}
"""A module or package: what it may import besides itself, its own submodules and the standard library.

A module belongs to the longest name here that its own name begins with, and so does what it imports.
"""

ARITHMETIC_LIBRARY = {"collections", "functools", "math", "typing"}
"""What components and composites may use of the standard library: nothing that draws, reads or writes."""

Findings = Iterator[tuple[int, str]]
"""Line and complaint."""


def layer(module: str) -> str:
    """The longest name in `LAYERS` that holds `module`; a vitref module in none stands for itself."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if (name := ".".join(parts[:length])) in LAYERS:
            return name
    return module if parts[0] == "vitref" else parts[0]


def imports(tree: ast.Module, modules: set[str]) -> Iterator[tuple[int, str]]:
    """Line and module of every import; `from package import submodule` counts as the submodule."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{parent}.{alias.name}"
                yield node.lineno, whole if whole in modules else parent


def crossed_layers(tree: ast.Module, module: str, modules: set[str]) -> Findings:
    """Imports that `LAYERS` does not allow."""
    own = layer(module)
    strict = own in ("vitref.components", "vitref.graph")
    library = ARITHMETIC_LIBRARY if strict else sys.stdlib_module_names
    for line, imported in imports(tree, modules):
        if imported.split(".")[0] not in library and layer(imported) not in LAYERS[own] | {own}:
            yield line, f"{own} may not import {imported}"


def concrete_backends(tree: ast.Module, modules: set[str]) -> Findings:
    """Imports of one certain backend: `vitref.backends.get` alone names them."""
    for line, imported in imports(tree, modules):
        if imported.startswith("vitref.backends.") and imported not in BACKENDS:
            yield line, f"{imported} is a concrete backend; go through vitref.backends.get"


def private_imports(tree: ast.Module) -> Findings:
    """Names with a leading underscore, taken from another module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name.startswith("_") and not alias.name.endswith("__"):
                    yield node.lineno, f"{alias.name} is private to {node.module}"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def listed(findings: Findings) -> list[str]:
    return [f"line {line}: {complaint}" for line, complaint in findings]


@pytest.mark.modules("vitref")
def test_module_has_a_layer(module: str, path: Path) -> None:
    assert layer(module) in LAYERS, f"say in LAYERS what {module} may import"


@pytest.mark.modules("vitref")
def test_imports_keep_to_their_layer(module: str, path: Path, project: dict[str, Path]) -> None:
    assert listed(crossed_layers(parse(path), module, set(project))) == []


@pytest.mark.modules("vitref")
def test_no_concrete_backend_is_imported(module: str, path: Path, project: dict[str, Path]) -> None:
    if not module.startswith("vitref.backends"):
        assert listed(concrete_backends(parse(path), set(project))) == []


@pytest.mark.modules("vitref")
def test_nothing_private_is_imported(module: str, path: Path) -> None:
    assert listed(private_imports(parse(path))) == []


MODULES = {"vitref.components.linear", "vitref.backends.numpy_backend", "vitref.backends", "vitref.api"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vitref.components.new", "from vitref import api"),
        ("vitref.components.new", "import numpy as np"),
        ("vitref.components.new", "import random"),
        ("vitref.components.new", "from vitref.run import Run"),
        ("vitref.components.new", "from . import linear"),
        ("vitref.run", "import vitref"),
        ("vitref.api", "import weights"),
        ("vitref.api", "from backends import get"),
        ("vitref.weights.formats.timm", "def f():\n    from vitref.api import load"),
        ("vitref.weights.formats.timm", "import torch"),
    ],
)
def test_wrong_import_is_found(module: str, source: str) -> None:
    assert len(listed(crossed_layers(ast.parse(source), module, MODULES))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vitref.components.new", "import math\nfrom vitref.components import linear"),
        ("vitref.graph.new", "from vitref.run import Trace\nfrom vitref.components import linear"),
        ("vitref.api", "import json\nfrom vitref import backends\nfrom vitref.weights.files import load"),
    ],
)
def test_right_import_passes(module: str, source: str) -> None:
    assert listed(crossed_layers(ast.parse(source), module, MODULES)) == []


@pytest.mark.parametrize(
    "source", ["import vitref.backends.numpy_backend", "from vitref.backends import numpy_backend"]
)
def test_concrete_backend_is_found(source: str) -> None:
    assert len(listed(concrete_backends(ast.parse(source), MODULES))) == 1


def test_private_import_is_found() -> None:
    assert len(listed(private_imports(ast.parse("from vitref.config import _whole")))) == 1
