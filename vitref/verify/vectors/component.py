"""The vectors of one component: what it computes, and which mistakes in it each vector exposes."""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from vitref.array import NUMPY, HostArray
from vitref.run import title
from vitref.testing.problem import Case, Problem
from vitref.testing.shapes import Arguments
from vitref.testing.structure import apply, is_array
from vitref.verify.mistakes import CATALOGUE, edit
from vitref.verify.vectors import arguments, values
from vitref.verify.vectors.arguments import Given
from vitref.verify.vectors.tolerances import coarsest, difference, exact_in, tolerances
from vitref.verify.vectors.vector import Group, Vector

Arrays = dict[str, HostArray]

HEADINGS = ("Forward", "Backward", "Shapes", "Raises", "Numerics", "Source")
"""What the manifest repeats of a component's docstring."""


def group(name: str) -> Group:
    """All vectors of the component of this name.

    Raises AssertionError when it takes what it should refuse.
    """
    module = importlib.import_module(f"vitref.components.{name}")
    right = (_vector(module, given) for given in arguments.accepted(module))
    wrong = (_rejected(module, given) for given in arguments.refused(module))
    return Group("component", name, about(module), (*right, *wrong))


def about(module: ModuleType) -> dict[str, str]:
    """The component's equations, from its docstring."""
    lines = (module.__doc__ or "").split(">>>")[0].strip().splitlines()
    found, heading = {"what": lines[0]}, ""
    for line in lines[1:]:
        word = line.partition(" ")[0]
        heading = word or heading
        if heading in HEADINGS:
            key = heading.lower()
            found[key] = f"{found.get(key, '')}\n{line[len(word) :].strip()}".strip()
    return found


def _vector(module: ModuleType, given: Given) -> Vector:
    dy = _cotangent(module, given)
    outputs, gradients = _results(module, given, dy)
    inputs = {**_arrays(given), **_named(module, dy, "d")}
    moving = _moving(module, given, dy)
    terms = max(array.size for array in (*inputs.values(), *outputs.values()))
    allowed = tolerances(moving, exact_in(inputs.values(), max(moving.values())), terms)
    expected = {**outputs, **gradients}
    flags = dict(_flags(module, given, dy, expected, allowed))
    return Vector(given.result, given.note, _plain(given), inputs, outputs, gradients, allowed, flags)


def _rejected(module: ModuleType, given: Given) -> Vector:
    try:
        module.forward(*given.args.values(), **given.settings, xp=NUMPY)
    except ValueError:
        return Vector("rejected", given.note, _plain(given), _arrays(given))
    raise AssertionError(f"{title(module)} takes what it should refuse: {given.note}")


def _cotangent(module: ModuleType, given: Given) -> Any:
    """Random numbers in the structure of the output."""
    y, _ = module.forward(*given.args.values(), **given.settings, xp=NUMPY)
    if isinstance(y, tuple):
        return tuple(values.draw(f"{given.label}, d{k}", part.shape) for k, part in enumerate(y))
    return values.draw(f"{given.label}, dy", np.shape(y))


def _results(module: Any, given: Given, dy: Any, dtype: str = "float64") -> tuple[Arrays, Arrays]:
    """Outputs and gradients by name, computed in this dtype."""
    args, settings, dy = apply(
        lambda x: x.astype(dtype) if x.dtype.kind == "f" else x,
        (tuple(given.args.values()), given.settings, dy),
    )
    y, saved = module.forward(*args, **settings, xp=NUMPY)
    grads = tuple(module.backward(dy, saved, xp=NUMPY))
    gradients = {f"d{key}": np.asarray(g) for key, g in zip(given.args, grads, strict=True) if g is not None}
    return _named(module, y), gradients


def _named(module: Any, values: Any, prefix: str = "") -> Arrays:
    """One output or several, by name."""
    names = getattr(module, "OUTPUTS", ("y",))
    several = values if isinstance(values, tuple) else (values,)
    return {f"{prefix}{name}": np.asarray(value) for name, value in zip(names, several, strict=True)}


def _moving(module: ModuleType, given: Given, dy: Any) -> dict[str, float]:
    """Output or gradient -> how large it is, or how far rounding moves it."""
    case = Case(title(module), Arguments({}), "", "", "float64", values.seed_of(given.label))
    args = tuple(given.args.values())
    found = Problem(case, module, args, dict(given.settings), dy, None).sizes
    grads = {f"d{key}": size for key, size in zip(given.args, found.grads, strict=True) if size is not None}
    return {name: float(size) for name, size in {**_named(module, found.y), **grads}.items()}


def _flags(
    module: ModuleType, given: Given, dy: Any, expected: Arrays, allowed: dict[str, dict[str, float]]
) -> Iterator[tuple[str, str]]:
    """Mistakes in this component that the vector exposes, and the coarsest precision in which it does."""
    for mistake in CATALOGUE.values():
        if title(module) in mistake.edits:
            wrong = edit.edited(title(module), mistake.edits_with()[title(module)])
            seen = coarsest(_errors(wrong, given, dy, expected).items(), allowed)
            if not seen and "float32" in next(iter(allowed.values())):
                error = _errors(wrong, given, dy, expected, "float32")
                in_float32 = {name: {"float32": allowed[name]["float32"]} for name in allowed}
                seen = coarsest(error.items(), in_float32)
            if seen:
                yield mistake.name, seen


def _errors(wrong: Any, given: Given, dy: Any, expected: Arrays, dtype: str = "float64") -> dict[str, float]:
    """How far a wrong component is off; infinitely where it ends in an error or gives another shape."""
    with np.errstate(all="ignore"):
        try:
            outputs, gradients = _results(wrong, given, dy, dtype)
        except (ValueError, IndexError, ZeroDivisionError):
            return dict.fromkeys(expected, float("inf"))
    found = {**outputs, **gradients}
    return {name: difference(found.get(name), array) for name, array in expected.items()}


def _arrays(given: Given) -> Arrays:
    return {key: array for key, array in {**given.args, **given.settings}.items() if is_array(array)}


def _plain(given: Given) -> dict[str, Any]:
    return {key: value for key, value in given.settings.items() if not is_array(value)}
