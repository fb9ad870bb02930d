"""Wrong arguments, made from right ones by a change: each must raise ValueError."""

from collections.abc import Callable, Iterator
from typing import Any

from vitref.testing.shapes import Arguments

Change = Callable[[dict[str, Any]], dict[str, Any] | None]
"""From all shapes and static arguments: those to be changed; None where the change does not apply."""


def refused(*changes: Change) -> Callable[[Arguments], Iterator[Arguments]]:
    def refused(arguments: Arguments) -> Iterator[Arguments]:
        for change in changes:
            if changed := change({**arguments.shapes, **arguments.static}):
                yield _changed(arguments, **changed)

    return refused


def longer(name: str, axis: int = -1) -> Change:
    """One more element on this axis."""
    return _length(name, axis, lambda length: length + 1)


def one(name: str, axis: int = -1) -> Change:
    """One element on this axis instead of several: what broadcasting would accept."""
    return _length(name, axis, lambda length: 1)


def _length(name: str, axis: int, new: Callable[[int], int]) -> Change:
    def change(known: dict[str, Any]) -> dict[str, Any] | None:
        shape = known[name]
        if not shape or len(shape) < max(-axis, axis + 1) or new(shape[axis]) == shape[axis]:
            return None
        lengths = list(shape)
        lengths[axis] = new(shape[axis])
        return {name: tuple(lengths)}

    return change


def dropped(name: str) -> Change:
    """Without the first axis."""
    return lambda known: {name: known[name][1:]} if known[name] else None


def setting(**changes: Any) -> Change:
    return lambda known: changes


def unfit(name: str) -> tuple[Change, Change, Change]:
    """A mask of one more element, of one (which broadcasting would accept), and of one axis less."""

    def change(new: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Change:
        def changed(known: dict[str, Any]) -> dict[str, Any] | None:
            mask, shape = known[name], known[name].shape
            return {name: mask._replace(shape=new(shape))} if shape and new(shape) != shape else None

        return changed

    return change(lambda s: (*s[:-1], s[-1] + 1)), change(lambda s: (*s[:-1], 1)), change(lambda s: s[1:])


def _changed(arguments: Arguments, **changes: Any) -> Arguments:
    shapes = {name: changes.get(name, shape) for name, shape in arguments.shapes.items()}
    static = {name: changes.get(name, value) for name, value in arguments.static.items()}
    return Arguments(shapes, static)
