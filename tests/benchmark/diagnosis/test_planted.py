"""Every planted bug moves the tap that it says first, and nothing where it says that it is hidden."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
import pytest

from vitref import api
from vitref.array import HostArray
from vitref.benchmark.diagnosis import catalogue, cell, problem
from vitref.benchmark.diagnosis.bug import LEVELS, Bug
from vitref.benchmark.diagnosis.judge import planted, shown

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

MOVED = 1e-9
"""Relative to the tap; in float64 rounding moves nothing by more than 1e-13."""


@lru_cache(maxsize=4)
def reference(place: problem.Place, gradients: bool) -> Mapping[str, HostArray]:
    given = problem.at(place)
    return api.trace(given.weights, given.image, given.labels if gradients else None)


def moved(taps: Mapping[str, HostArray], right: Mapping[str, HostArray]) -> list[str]:
    """The taps that are wrong, in the order of the reference."""
    return [name for name in right if name in taps and is_wrong(taps[name], right[name])]


def is_wrong(array: HostArray, right: HostArray) -> bool:
    if array.shape != right.shape:
        return True
    error = np.linalg.norm(array - right)
    return bool(error > 1e-13 and error > MOVED * np.linalg.norm(right))


@pytest.mark.parametrize("model", problem.MODELS)
def test_without_a_bug_both_programs_compute_the_same(model: str) -> None:
    given, right = problem.small(model), reference(problem.Place(model), True)
    taps = planted(given, (), "float64", True)
    assert set(taps) == set(right)
    assert moved(taps, right) == []


@pytest.mark.parametrize("bug", catalogue.BUGS.values(), ids=lambda bug: bug.name)
def test_the_first_tap_that_moves(bug: Bug) -> None:
    place = problem.Place(bug.model)
    given, gradients = problem.at(place), "taps" in bug.hidden
    taps, right = planted(given, [bug], "float64", gradients), reference(place, gradients)
    wrong = moved(taps, right)
    assert fnmatchcase(wrong[0], bug.first_tap(given.config))
    if bug.first.endswith(":grad"):
        assert all(fnmatchcase(name, bug.first) for name in wrong)
    for level in LEVELS[3:] if gradients else LEVELS[:3]:
        assert (level in bug.hidden) == (not moved(shown(taps, level), right)), level


def test_bugs_fit_the_small_model_that_they_name() -> None:
    for bug in catalogue.BUGS.values():
        assert bug.needs is None or bug.needs(problem.at(problem.Place(bug.model)).config), bug.name


def test_both_bugs_of_a_pair_are_there() -> None:
    for a, b in catalogue.PAIRS:
        one, other = catalogue.BUGS[a], catalogue.BUGS[b]
        assert one.model == other.model
        assert {c.piece for c in one.changes}.isdisjoint(c.piece for c in other.changes)
        assert set(cell.levels_of(one)) & set(cell.levels_of(other))
