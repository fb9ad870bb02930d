"""One cell judged: the candidate made, compared, and what was said of it held against what is true."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.benchmark.diagnosis import honest, problem, program
from vitref.benchmark.diagnosis.answers import right_names
from vitref.benchmark.diagnosis.bug import Bug
from vitref.benchmark.diagnosis.cell import Cell
from vitref.benchmark.diagnosis.expect import said
from vitref.benchmark.diagnosis.problem import Place, Problem
from vitref.verify import mistakes
from vitref.verify.compare import compare
from vitref.verify.verdicts import Report

Taps = Mapping[str, HostArray]


def judged(cell: Cell) -> dict[str, Any]:
    """What came of it, as plain values for JSON; "error" where there was no verdict."""
    start = time.perf_counter()
    given = problem.at(cell.place)
    known = {
        "subject": cell.subject,
        "name": cell.name,
        "level": cell.level,
        "dtype": cell.dtype,
        "model": cell.place.model,
        "seed": cell.place.seed,
        "split": "tuning" if cell.is_tuning else "held out",
        "kind": kind(cell),
    }
    try:
        taps = candidate(cell, given)
        known["effect"] = effect(cell, given, taps) if cell.bugs else None
        report = compared(cell, given, taps)
    except Exception as error:  # a crash is a result of a benchmark, too
        return {**known, "error": f"{type(error).__name__}: {error}", "seconds": time.perf_counter() - start}
    return {**known, **found(cell, given, taps, report)}


def kind(cell: Cell) -> str:
    """Of the cell's bugs: "uncovered" where the catalogue has no right answer for one."""
    if not cell.bugs:
        return "honest"
    if any(bug.is_precision for bug in cell.bugs):
        return "precision"
    if not all(right_names(bug.name, cell.level) for bug in cell.bugs):
        return "uncovered"
    return "backward" if cell.needs_gradients else "forward"


def candidate(cell: Cell, given: Problem) -> Taps:
    """The taps that the cell shows."""
    if cell.subject == "honest":
        return shown(honest.engines()[cell.name].run(given, cell.dtype, cell.needs_gradients), cell.level)
    return shown(planted(given, cell.bugs, cell.dtype, cell.needs_gradients), cell.level)


def planted(given: Problem, bugs: Sequence[Bug], dtype: str, gradients: bool) -> Taps:
    image = given.image
    for bug in bugs:
        if bug.pixels:
            recipe = given.weights.preprocessing
            assert recipe is not None
            image = np.stack([bug.pixels(picture, recipe) for picture in given.pictures])
    labels = given.labels if gradients else None
    return program.taps(given.weights, given.config, image, labels, dtype=dtype, bugs=bugs)


def shown(taps: Taps, level: str) -> Taps:
    """Those taps that a candidate of this level has."""
    forward = {name: x for name, x in taps.items() if ":" not in name and name != "loss"}
    if level == "cotangents":
        return taps
    if level == "gradients":
        return {name: x for name, x in taps.items() if name.endswith(":grad")}
    if level == "taps":
        return forward
    outputs = {name for name in forward if name.startswith("blocks.") and name.count(".") == 1}
    return {
        name: x
        for name, x in forward.items()
        if name in (outputs if level == "blocks" else ()) or name == "logits"
    }


def effect(cell: Cell, given: Problem, taps: Taps) -> float:
    """How far the bugs move the tap that they move most, in multiples of what the format alone moves it.

    Both are measured on the plain program: in float64 with and without the bugs, and without them in the
    format of the cell.
    """
    right = _right(cell.place, "float64", cell.needs_gradients)
    rounded = _right(cell.place, cell.dtype, cell.needs_gradients)
    wrong = planted(given, cell.bugs, "float64", cell.needs_gradients)
    names = [name for name in taps if name in right and name in wrong]
    return max((_moved(wrong[n], right[n], rounded[n]) for n in names), default=0.0)


def _moved(wrong: HostArray, right: HostArray, rounded: HostArray) -> float:
    if wrong.shape != right.shape:
        return float("inf")
    noise = np.linalg.norm(rounded.astype(np.float64) - right) + 1e-9 * np.linalg.norm(right) + 1e-30
    return float(np.linalg.norm(wrong - right) / noise)


@lru_cache(maxsize=8)
def _right(place: Place, dtype: str, gradients: bool) -> Taps:
    return planted(problem.at(place), (), dtype, gradients)


def compared(cell: Cell, given: Problem, taps: Taps) -> Report:
    """The report; with the right answers taken out of the hypotheses where the cell asks for that."""
    out = right_names(cell.name, cell.level) if cell.subject == "without" else frozenset()
    hypotheses = [m for name, m in mistakes.CATALOGUE.items() if name not in out] if out else None
    return compare(
        given.weights,
        taps,
        image=list(given.pictures),
        labels=given.labels if cell.needs_gradients else None,
        diagnose=True,
        hypotheses=hypotheses,
    )


def found(cell: Cell, given: Problem, shown: Taps, report: Report) -> dict[str, Any]:
    """What the report says, and whether it is right."""
    diagnosis = report.diagnosis
    causes = diagnosis.causes if diagnosis else ()
    taps = report.taps
    return {
        "outcome": report.outcome,
        "precision": report.precision,
        "worst": max(
            (max(t.local / t.threshold, t.end_to_end / t.threshold_end_to_end) for t in taps), default=0.0
        ),
        "flagged": [t.tap for t in taps if t.verdict in ("bug", "lower precision", "systematic")][:6],
        "first": list(report.first.span) if report.first else [],
        "step": report.first.step if report.first else "",
        "causes": [
            {
                "mistake": c.mistake,
                "places": list(c.places)[:4],
                "confidence": c.confidence,
                "residual": c.residual,
                "neighbours": list(c.neighbours),
            }
            for c in causes
        ],
        "ranked": dict(list(diagnosis.ranked.items())[:5]) if diagnosis else {},
        "seconds": float(report.about.get("seconds", 0.0)),
        "tried": diagnosis.tried if diagnosis else 0,
        **(
            said(cell, given, shown, report)
            if cell.bugs
            else {"alarm": report.outcome == "differ" or bool(causes)}
        ),
    }


def is_alarm(report: Report) -> bool:
    """Of an honest candidate: a bug, or a mistake that is named."""
    return not report.agrees or bool(report.diagnosis and report.diagnosis.causes)
