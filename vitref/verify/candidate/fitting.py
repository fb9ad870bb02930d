"""Which changes of layout bring an array into the shape of a tap: the sensible ones, as a map says them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from vitref.verify.candidate.names import GRADIENT

Shape = tuple[int, ...]
Changes = Mapping[str, list[int]]
"""`reshape`, `transpose`, `reshape_after`, as in an entry of a map; {} for none."""


def changes(found: Shape, tap: str, expected: Shape) -> list[Changes]:
    """Every known way from the shape `found` to that of `tap`; [] when there is none.

    >>> changes((1, 17, 12), "blocks.0.attn.q", (1, 3, 17, 4))
    [{'reshape': [1, 17, 3, 4], 'transpose': [0, 2, 1, 3]}]
    """
    ways = (
        [_gradient(found, expected)]
        if tap.endswith(GRADIENT)
        else [_same(found, expected), _output(found, expected)]
    )
    unique: list[Changes] = []
    for way in (way for source in ways for way in source):
        if way not in unique:
            unique.append(way)
    return unique


def _same(found: Shape, expected: Shape) -> Iterator[Changes]:
    if found == expected:
        yield {}
    elif _without_ones(found) == _without_ones(expected):
        yield {"reshape": list(expected)}


def _output(found: Shape, expected: Shape) -> Iterator[Changes]:
    """Of a step's output; `found` may lack the batch axis of one image."""
    if len(expected) > 1 and expected[0] == 1 and found[:1] != (1,):
        found = (1, *found)
    if math.prod(found) != math.prod(expected) or found[:1] != expected[:1]:
        return
    batch, rest = list(found[:1]), expected[1:]
    if len(found) == 4 and len(rest) == 2 and found[1] == rest[1] and found[2] * found[3] == rest[0]:
        yield {"reshape": [*batch, rest[1], rest[0]], "transpose": [0, 2, 1]}
    if len(found) == 4 and len(rest) == 2 and found[3] == rest[1] and found[1] * found[2] == rest[0]:
        yield {"reshape": list(expected)}
    if len(found) == 3 and len(rest) == 3 and found[1:] == (rest[1], rest[0] * rest[2]):
        yield {"reshape": [*batch, rest[1], rest[0], rest[2]], "transpose": [0, 2, 1, 3]}
    if len(found) == 4 and found[1:] == (*rest[1:2], *rest[:1], *rest[2:]):
        yield {"reshape": list(found), "transpose": [0, 2, 1, 3]}
    if len(found) == 4 and len(rest) == 2 and found[2] == rest[0] and found[1] * found[3] == rest[1]:
        yield {"reshape": list(found), "transpose": [0, 2, 1, 3], "reshape_after": list(expected)}
    if len(found) == 3 and len(rest) == 2 and found[1:] == (rest[1], rest[0]) and rest[0] != rest[1]:
        yield {"reshape": list(found), "transpose": [0, 2, 1]}


def _gradient(found: Shape, expected: Shape) -> Iterator[Changes]:
    """Of a parameter's gradient: torch has (out, in) and (out, in, rows, columns), others the reverse."""
    yield from _same(found, expected)
    if len(found) == len(expected) == 2 and found == expected[::-1]:
        yield {"transpose": [1, 0]}
    if len(found) == len(expected) == 4 and found == (*expected[2:], expected[1], expected[0]):
        yield {"transpose": [3, 2, 0, 1]}
    if len(found) == 2 and len(expected) == 4 and found == (expected[0], math.prod(expected[1:])):
        yield {"reshape": list(expected)}
    if len(found) == 3 and len(expected) == 2 and (found[0] * found[1], found[2]) == expected[::-1]:
        yield {"reshape": list(expected[::-1]), "transpose": [1, 0]}


def _without_ones(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def applied(array: Any, way: Changes) -> Any:
    """The array after these changes."""
    if "reshape" in way:
        array = array.reshape(way["reshape"])
    if "transpose" in way:
        array = array.transpose(way["transpose"])
    return array.reshape(way["reshape_after"]) if "reshape_after" in way else array
