"""What may stand where: composites hold steps only, components keep to the array vocabulary."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitref.array import VOCABULARY

ARRAY_ATTRIBUTES = {"shape", "ndim", "dtype"}
LOSSY_BUILTINS = {"abs", "complex", "round", "sum"}
"""Called on an array they drop its imaginary part, its digits or its library."""

Findings = Iterator[tuple[int, str]]
"""Line and complaint."""


def guarded_imports(tree: ast.Module) -> Findings:
    """Imports inside `try`: what is installed must not change what the code does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    yield inner.lineno, "an import inside try"


def backend_branches(tree: ast.Module) -> Findings:
    """Comparisons with the name of a backend."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and inner.value in ("numpy", "numba", "cupy"):
                    yield inner.lineno, f"a branch on the backend {inner.value!r}"


def array_maths(tree: ast.Module) -> Findings:
    """Operators and `xp` in a composite, which consists of steps; `A | None` is a type, no operator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr):
            yield node.lineno, f"the operator {type(node.op).__name__}"
        elif isinstance(node, ast.AugAssign):
            yield node.lineno, "an assignment with an operator"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
            yield node.lineno, f"the operator {type(node.op).__name__}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "xp":
            yield node.lineno, f"a call of xp.{node.attr}"


def outside_vocabulary(tree: ast.Module) -> Findings:
    """What a component does that another array library, or a complex step, would not survive."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    holders = {"saved"} | {alias.asname or alias.name for node in statements for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not _allowed(node, holders):
            yield node.lineno, f"the attribute {ast.unparse(node)}"
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield node.lineno, f"the item assignment to {ast.unparse(node)}"
        elif isinstance(node, ast.AugAssign):
            yield node.lineno, f"the in-place operation {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in LOSSY_BUILTINS:
            yield node.lineno, f"the builtin {ast.unparse(node.func)}"


def _allowed(node: ast.Attribute, holders: set[str]) -> bool:
    """xp.<vocabulary>, the attributes of an array, and anything of an imported module or of `saved`."""
    if isinstance(node.value, ast.Name) and node.value.id == "xp":
        return node.attr in VOCABULARY
    return node.attr in ARRAY_ATTRIBUTES or (isinstance(node.value, ast.Name) and node.value.id in holders)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def listed(findings: Findings) -> list[str]:
    return [f"line {line}: {complaint}" for line, complaint in findings]


@pytest.mark.modules("vitref")
def test_no_import_is_guarded_and_no_branch_names_a_backend(module: str, path: Path) -> None:
    if not module.startswith("vitref.backends"):
        assert listed(guarded_imports(parse(path))) + listed(backend_branches(parse(path))) == []


@pytest.mark.modules("vitref.graph")
def test_composite_has_no_array_maths(module: str, path: Path) -> None:
    assert listed(array_maths(parse(path))) == []


@pytest.mark.modules("vitref.components")
def test_component_keeps_to_the_vocabulary(module: str, path: Path) -> None:
    assert listed(outside_vocabulary(parse(path))) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (guarded_imports, "try:\n    import cupy\nexcept ImportError:\n    cupy = None"),
        (backend_branches, "if backend.name == 'cupy': pass"),
        (backend_branches, "if name in ('numpy', other): pass"),
        (array_maths, "y = a + b"),
        (array_maths, "y = a @ b"),
        (array_maths, "y = -a"),
        (array_maths, "y *= a"),
        (array_maths, "y = xp.exp"),
        (outside_vocabulary, "y = xp.var(x)"),
        (outside_vocabulary, "y = x.sum()"),
        (outside_vocabulary, "y = (a + b).T"),
        (outside_vocabulary, "y = saved.x.sum()"),
        (outside_vocabulary, "x[0] = y"),
        (outside_vocabulary, "x += y"),
        (outside_vocabulary, "y = abs(x)"),
    ],
)
def test_breach_is_found(rule: Callable[[ast.Module], Findings], source: str) -> None:
    assert len(listed(rule(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (array_maths, "def f(t, x, *, n: int | None):\n    return t.step(f'blocks.{0}', block, x)"),
        (outside_vocabulary, "import math\ny = xp.exp(x) / math.sqrt(x.shape[0]) + saved.y.dtype"),
    ],
)
def test_what_is_allowed_passes(rule: Callable[[ast.Module], Findings], source: str) -> None:
    assert listed(rule(ast.parse(source))) == []
