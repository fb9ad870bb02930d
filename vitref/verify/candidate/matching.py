"""Matching arrays of unknown names to taps by value: on a sample of elements, in every layout that fits."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.verify.candidate import fitting
from vitref.verify.candidate.fitting import Changes
from vitref.verify.candidate.resolve import Shapes
from vitref.verify.candidate.stored import FLOATS, Stored

ELEMENTS = 2048
"""Compared of each array: enough to tell taps apart, few enough to keep those of every tap."""

Reference = Callable[[str], HostArray]


class Match(NamedTuple):
    """An array as a tap.

    error   |array - reference| / |reference| on the sample; infinity where there is no reference
    """

    tap: str
    way: Changes
    error: float


def matches(
    unknown: Mapping[str, Stored], expected: Shapes, reference: Reference | None
) -> dict[str, list[Match]]:
    """Name -> the taps that its shape fits, the nearest in value first, then in the order of `expected`."""
    ways = {name: _ways(stored, expected) for name, stored in unknown.items()}
    if reference is None:
        return {name: [Match(tap, way, math.inf) for tap, way in found] for name, found in ways.items()}
    wanted = {tap for found in ways.values() for tap, _ in found}
    references = {tap: _sample(reference(tap)) for tap in expected if tap in wanted}
    return {name: _ranked(unknown[name], found, references) for name, found in ways.items()}


def _ways(stored: Stored, expected: Shapes) -> list[tuple[str, Changes]]:
    if stored.dtype not in FLOATS:
        return []
    return [
        (tap, way) for tap, shape in expected.items() for way in fitting.changes(stored.shape, tap, shape)
    ]


def _ranked(
    stored: Stored, ways: list[tuple[str, Changes]], references: Mapping[str, HostArray]
) -> list[Match]:
    if not ways:
        return []
    array = stored.read()
    samples: dict[str, HostArray] = {}
    for _, way in ways:
        if str(way) not in samples:
            samples[str(way)] = _sample(fitting.applied(array, way))
    found = [Match(tap, way, _error(samples[str(way)], references[tap])) for tap, way in ways]
    return sorted(found, key=lambda match: match.error)


def _sample(array: HostArray) -> HostArray:
    """The same elements of every array of this shape, in float64."""
    size = math.prod(array.shape)
    if size <= ELEMENTS:
        return array.astype(np.float64).ravel()
    places = np.random.default_rng(size).integers(0, size, ELEMENTS)
    return np.asarray(array[np.unravel_index(places, array.shape)], dtype=np.float64)


def _error(array: HostArray, reference: HostArray) -> float:
    distance, norm = float(np.linalg.norm(array - reference)), float(np.linalg.norm(reference))
    if norm == 0:
        return 0.0 if distance == 0 else math.inf
    return distance / norm


def assigned(found: Mapping[str, list[Match]]) -> Iterator[tuple[str, Match]]:
    """Each name with at most one tap and each tap with at most one name, the nearest pairs first."""
    pairs = [(match.error, i, name, match) for name, row in found.items() for i, match in enumerate(row)]
    names: set[str] = set()
    taps: set[str] = set()
    for _, _, name, match in sorted(pairs, key=lambda pair: pair[:2]):
        if name not in names and match.tap not in taps:
            names.add(name)
            taps.add(match.tap)
            yield name, match
