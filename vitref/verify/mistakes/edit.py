"""A component with some of its lines changed, and a kernel made of it.

The change is data: "line as it is -> what stands there instead". What is changed is a copy of the
component's source; nothing of the component itself is touched. So a mistake is written in the words
of the reference, runs on every array library that the reference runs on, and can be shown as a
difference of two texts.
"""

import ast
import difflib
import importlib.util
import inspect
from collections.abc import Iterable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from vitref import components, graph

ARROW = " -> "


@cache
def component(name: str) -> ModuleType:
    """The primitive or composite of this name. Raises ModuleNotFoundError when there is none."""
    package = components if importlib.util.find_spec(f"{components.__name__}.{name}") else graph
    return importlib.import_module(f"{package.__name__}.{name}")


@cache
def source(name: str) -> str:
    """The component's code, without its docstring."""
    text = inspect.getsource(component(name))
    docstring = ast.parse(text).body[0]
    return "".join(text.splitlines(keepends=True)[docstring.end_lineno :])


def edited_source(name: str, edits: Iterable[str]) -> str:
    """The component's code, changed. Raises ValueError for a line that does not stand there just once."""
    text = source(name)
    for edit in edits:
        old, arrow, new = edit.partition(ARROW)
        if not arrow or text.count(old) != 1:
            raise ValueError(f"{name} has {text.count(old)} places that read {old!r}, expected one")
        text = text.replace(old, new)
    return text


@cache
def edited(name: str, edits: tuple[str, ...]) -> Any:
    """A copy of the component whose code is changed."""
    copy = ModuleType(component(name).__name__)
    exec(compile(edited_source(name, edits), f"<{name}, edited>", "exec"), copy.__dict__)
    return copy


@cache
def kernel(name: str, edits: tuple[str, ...]) -> Any:
    """The changed copy as a kernel (see `vitref.backends.interface`) that takes everything."""
    part = edited(name, edits)

    def forward(*arrays: Any, ws: Any, keep: bool, **static: Any) -> Any:
        return part.forward(*arrays, **static)

    def backward(dy: Any, saved: Any, *, ws: Any, xp: Any) -> Any:
        return part.backward(dy, saved, xp=xp)

    def refuses(*inputs: Any, **static: Any) -> None:
        return None

    if not hasattr(part, "PARAMS"):
        passes = {"forward": part.forward, "backward": part.backward}
    else:
        passes = {"forward": forward, "backward": backward, "PARAMS": part.PARAMS}
    about = {"__name__": part.__name__, "edits": edits}
    return SimpleNamespace(**about, HIDES=(), ADDS=False, refuses=refuses, **passes)


def difference(name: str, edits: Iterable[str]) -> str:
    """The lines that change, as `diff -u` shows them."""
    right, wrong = source(name).splitlines(), edited_source(name, edits).splitlines()
    lines = difflib.unified_diff(right, wrong, lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
