"""What is true of a planted bug, held against a report: detected, located, named."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np

from vitref import api
from vitref.benchmark.diagnosis import problem
from vitref.benchmark.diagnosis.answers import right_names
from vitref.benchmark.diagnosis.cell import Cell
from vitref.benchmark.diagnosis.problem import Place, Problem
from vitref.verify.verdicts import Cause, Report

FEW = 4
"""Steps in a span of the backward pass that counts as small: those that read one output, or one softmax."""


def said(cell: Cell, given: Problem, shown: Collection[str], report: Report) -> dict[str, Any]:
    """detected   something was said to be wrong; of a lower precision, that this is what it is
    located    "exact": the first guilty step is the right one; "span": the smallest span of steps that
               the taps `shown` can tell apart, with the right one in it; "wide": a larger one; "" else
    named      "first", "among" or "neighbour": where a right name stands; of what has no name "none" when
               none is given; "" else. Of a pair "first" when both are named and "one" when one is
    """
    causes = report.diagnosis.causes if report.diagnosis else ()
    is_precision = any(bug.is_precision for bug in cell.bugs)
    wrong = says_lower(cell, given, report) if is_precision else not report.agrees
    return {
        "guilty": [bug.guilty(given.config) for bug in cell.bugs],
        "detected": wrong or bool(causes),
        "located": located(cell, given, shown, report),
        "named": named(cell, causes),
    }


def says_lower(cell: Cell, given: Problem, report: Report) -> bool:
    """Whether the bug's first tap, or what is shown behind it, counts as computed in a lower precision."""
    first = {bug.first_tap(given.config) for bug in cell.bugs}
    return any(
        tap.verdict == "lower precision" or (tap.tap in first and tap.format in ("bfloat16", "float16"))
        for tap in report.taps
    )


def named(cell: Cell, causes: Sequence[Cause]) -> str:
    right = [right_names(bug.name, cell.level) for bug in cell.bugs]
    if cell.subject == "without" or not any(right):
        return "" if causes else "none"
    names = [cause.mistake for cause in causes]
    hits = [bool(answers.intersection(names)) for answers in right]
    if cell.subject == "pair":
        return "first" if all(hits) else "one" if any(hits) else ""
    if names and names[0] in right[0]:
        return "first"
    near = {name for cause in causes for name in cause.neighbours}
    return "among" if hits[0] else "neighbour" if near & right[0] else ""


def located(cell: Cell, given: Problem, shown: Collection[str], report: Report) -> str:
    """Of the first bug of the forward pass, or of the one that the backward pass meets first."""
    patterns, first = [bug.guilty(given.config) for bug in cell.bugs], report.first
    if first is None:
        causes = report.diagnosis.causes if report.diagnosis else ()
        return "exact" if any(fits(place, patterns) for cause in causes for place in cause.places) else ""
    if fits(first.step, patterns) and len(first.span) <= 1:
        return "exact"
    if not any(fits(step, patterns) for step in (*first.span, first.step)):
        return ""
    if cell.needs_gradients:
        return "span" if len(first.span) <= FEW else "wide"
    right = min((p for p in patterns if p in order(cell.place)), key=order(cell.place).index)
    return "span" if set(first.span) <= narrowest(cell.place, right, shown) else "wide"


def fits(step: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(step, pattern) for pattern in patterns)


def narrowest(place: Place, guilty: str, shown: Collection[str]) -> set[str]:
    """The steps between the given taps on either side of the guilty one."""
    names = order(place)
    given = [i for i, name in enumerate(names) if name in shown]
    here = names.index(guilty)
    before = max((i for i in given if i < here), default=-1)
    behind = min((i for i in given if i >= here), default=len(names) - 1)
    return set(names[before + 1 : behind + 1])


@lru_cache(maxsize=4)
def order(place: Place) -> tuple[str, ...]:
    """The taps of the forward pass."""
    given = problem.at(place)
    return tuple(api.trace(given.weights, np.asarray(given.image[:1]), dtype="float32"))
