"""The precision ladder: is a step wrong, or right in a lower precision than the rest?

A wrong step is run again as TF32, float16 and bfloat16 would compute it, and with sums kept in the storage
format. An error that such runs explain is one of precision. It has to be of their size, not far below
it, and to look like rounding: an error that follows the rows or the columns does not.
"""

from typing import TYPE_CHECKING

import numpy as np

from vitref.array import HostArray
from vitref.verify.examine import Given
from vitref.verify.numerics import Realisation
from vitref.verify.rule import LOWER, thresholds
from vitref.verify.windows import (
    Window,
    backward_window,
    compared,
    evaluated,
    forward_window,
)

if TYPE_CHECKING:
    from vitref.verify.compare import Judged

RUNS = 2
BINS = 16
"""Groups of like values, in each of which the error is averaged."""
VALUES, AXES = 0.35, 0.6
"""How much more structure than twice that of own runs an error may have: over like values, over an axis."""
LEAST = 0.25
"""An error far below the noise of a lower precision is not explained by it: then it would be larger."""


def explained(judged: "Judged") -> dict[str, str]:
    """Wrong tap -> the lower precision that explains it, in words."""
    found: dict[str, str] = {}
    given = Given(judged.taps, judged.steps)
    for window, wrong in windows(judged, given, judged.wrong).items():
        reference = evaluated(judged.held.model, None, given, window, wrong)
        for words, runs in _rungs(judged, window, given, wrong):
            open_ = [tap for tap in wrong if tap not in found]
            stored = {tap: judged.formats.of(tap) for tap in open_}
            ratios = compared(judged.taps, {tap: reference[tap] for tap in open_}, runs, stored)
            limit = thresholds("bfloat16").ladder
            for tap, measured in ratios.items():
                ratio, own = measured.ratio(), [run[tap] for run in runs]
                fits = LEAST <= ratio.whole <= limit and ratio.token <= 2 * limit
                if fits and _looks_like(judged.taps[tap], reference[tap], own):
                    found[tap] = words
    return found


def windows(judged: "Judged", given: Given, taps: list[str]) -> dict[Window, list[str]]:
    """The windows that hold these taps -> those of the candidate's taps in each that are among them."""
    found: dict[Window, list[str]] = {}
    for tap in taps:
        place = judged.steps.place(tap)
        backward = tap.endswith((":dy", ":grad"))
        window = (backward_window if backward else forward_window)(given, judged.steps, place)
        if not backward:
            window = Window(window.start, place)
        found.setdefault(window, []).append(tap)
    return found


def reference_value(judged: "Judged", tap: str) -> HostArray:
    """A tap as the reference computes it from the candidate's own inputs."""
    given = Given(judged.taps, judged.steps)
    window = next(iter(windows(judged, given, [tap])))
    return np.asarray(evaluated(judged.held.model, None, given, window, [tap])[tap])


def _rungs(
    judged: "Judged", window: Window, given: Given, wrong: list[str]
) -> list[tuple[str, list[dict[str, HostArray]]]]:
    precision = judged.formats.precision

    def runs(realisations: list[Realisation]) -> list[dict[str, HostArray]]:
        return [evaluated(judged.held.model, one, given, window, wrong) for one in realisations]

    rungs = []
    for lower in LOWER.get(precision, ()):
        rungs.append(
            (lower, runs([judged.formats.realisation(judged.steps, seed, lower) for seed in range(RUNS)]))
        )
    if precision in ("bfloat16", "float16") and window.backward:
        kept = [judged.formats.realisation(judged.steps, seed, accumulate=True) for seed in range(RUNS)]
        rungs.append((f"sums kept in {precision}", runs(kept)))
    return rungs


def _looks_like(candidate: HostArray, reference: HostArray, runs: list[HostArray]) -> bool:
    """Whether no more of the error has a structure than of that of own runs."""
    found = _structure(np.asarray(candidate, np.float64) - reference, reference)
    own = [_structure(run - reference, reference) for run in runs]
    return all(
        share <= 2 * max(run.get(kind, 0.0) for run in own) + (VALUES if kind == "values" else AXES)
        for kind, share in found.items()
    )


def _structure(error: HostArray, reference: HostArray) -> dict[str, float]:
    """The share of the energy in means over each axis and over like values ("values"), beyond that of errors
    that have nothing to do with each other: 0 of these, 1 when all that are averaged are the same.

    Rounding has next to none; another formula is a function of the value, another order one of the place.
    """
    energy = float((error * error).mean())
    if not energy:
        return {}
    found = {
        f"axis {axis}": _beyond(float((error.mean(axis=axis) ** 2).mean()) / energy, 1 / length)
        for axis, length in enumerate(error.shape)
        if length > 1
    }
    if error.size >= 4 * BINS:
        groups = np.array_split(error.reshape(-1)[np.argsort(reference, axis=None)], BINS)
        means = sum(group.size * float(group.mean()) ** 2 for group in groups) / error.size
        found["values"] = _beyond(means / energy, BINS / error.size)
    return found


def _beyond(share: float, expected: float) -> float:
    return max((share - expected) / (1 - expected), 0.0)
