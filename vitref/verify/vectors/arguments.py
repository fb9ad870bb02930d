"""What a component is asked: drawn shapes in every regime, boundary cases, and what it must refuse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.run import title
from vitref.testing.cases import SPECS
from vitref.testing.shapes import Arguments
from vitref.verify.vectors import values
from vitref.verify.vectors.edges import EDGES, Edge

DRAWS = 2
"""Shapes in each regime of values."""


@dataclass(frozen=True)
class Given:
    """The arguments of one call; `label` is what its numbers are drawn from."""

    label: str
    result: str
    note: str
    args: Mapping[str, HostArray | None]
    settings: Mapping[str, Any]


def accepted(module: ModuleType) -> Iterator[Given]:
    """Calls that have a result."""
    name = title(module)
    for regime in SPECS[name].regimes:
        for place in range(DRAWS):
            label = f"{name}, {regime} {place}"
            arguments = SPECS[name].arguments(values.size(label))
            note = f"inputs {values.REGIMES[regime][0]}"
            yield _drawn(label, "valid", note, arguments, regime, len(module.PARAMS))
    for place, edge in enumerate(EDGES.get(name, ())):
        yield _edge(f"{name}, edge {place}", edge)


def refused(module: ModuleType) -> Iterator[Given]:
    """Calls that must end in an error, each once: of the drawn shapes, one thing is changed."""
    name, seen = title(module), set()
    for place in range(DRAWS * len(SPECS[name].regimes)):
        label = f"{name}, refused {place}"
        right = SPECS[name].arguments(values.size(label))
        for change, wrong in enumerate(SPECS[name].refused(right)):
            if change not in seen:
                seen.add(change)
                note = _changes(right, wrong)
                yield _drawn(f"{label} {change}", "rejected", note, wrong, "plain", len(module.PARAMS))


def _drawn(label: str, result: str, note: str, arguments: Arguments, regime: str, parameters: int) -> Given:
    """Numbers of these shapes, the parameters plain."""
    inputs = list(arguments.shapes)[: len(arguments.shapes) - parameters]
    args = {
        key: None
        if shape is None
        else values.draw(f"{label}, {key}", shape, regime if key in inputs else "plain")
        for key, shape in arguments.shapes.items()
    }
    settings = {k: values.draw_setting(f"{label}, {k}", v) for k, v in arguments.static.items()}
    return Given(label, result, note, args, settings)


def _edge(label: str, edge: Edge) -> Given:
    args = {key: _numbers(f"{label}, {key}", given) for key, given in edge.arrays.items()}
    settings = {
        key: np.array(value) if isinstance(value, list) else values.draw_setting(f"{label}, {key}", value)
        for key, value in edge.settings.items()
    }
    return Given(label, "boundary", edge.note, args, settings)


def _numbers(label: str, given: tuple[int, ...] | list[Any] | None) -> HostArray | None:
    if given is None or isinstance(given, list):
        return None if given is None else np.array(given)
    return values.draw(label, given)


def _changes(right: Arguments, wrong: Arguments) -> str:
    """What is wrong, and what would be right."""
    before, after = {**right.shapes, **right.static}, {**wrong.shapes, **wrong.static}
    changed = [
        f"{key} is {_plain(after[key])}, where {_plain(before[key])} would do"
        for key in before
        if before[key] != after[key]
    ]
    return "; ".join(changed)


def _plain(value: Any) -> str:
    """A shape, a number or a text; of an array that is drawn its shape."""
    if hasattr(value, "images"):
        shape = (value.images,) if value.kind == "integers" else (value.images, value.classes)
        return str(shape)
    return str(tuple(value.shape)) if hasattr(value, "shape") else repr(value)
