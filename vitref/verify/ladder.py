"""The precision ladder: is a step wrong, or right in a lower precision than the rest?

A wrong step is run again as TF32, float16 and bfloat16 would compute it, and with sums kept in the storage
format. An error that such runs explain is one of precision. It has to be of their size, not far below
it, and to look like rounding: an error that is a function of the value does not.
"""

import numpy as np

from vitref.array import HostArray
from vitref.verify.examine import Given
from vitref.verify.judged import Judged
from vitref.verify.numerics import Realisation
from vitref.verify.rule import LOWER, thresholds
from vitref.verify.windows import (
    Window,
    backward_window,
    compared,
    evaluated,
    forward_window,
)

RUNS = 2
BINS = 16
"""Groups of like values, in each of which the error is averaged."""
PEAK = 4.0
"""How many times as large as the largest of own runs the largest error of an element may be; twice as many
where there are fewer than `SMALL` elements, of which the largest scatters more."""
SMALL = 256
STRUCTURED = 0.35
"""How much more structure than twice that of own runs an error may have."""
CLOSE = float(np.log(2))
"""Logarithm of a ratio that is as good as 1: of two such precisions the higher one is named."""
LEAST = 0.25
"""An error far below the noise of a lower precision is not explained by it: then it would be larger."""


def explained(judged: Judged) -> dict[str, str]:
    """Wrong tap -> the lower precision that explains it best, in words."""
    found: dict[str, tuple[float, int, str]] = {}
    given, limit = Given(judged.taps, judged.steps), thresholds("bfloat16").ladder
    for window, wrong in windows(judged, given, judged.wrong).items():
        reference = evaluated(judged.held.model, None, given, window, wrong)
        stored = {tap: judged.formats.of(tap) for tap in wrong}
        for number, (words, runs) in enumerate(_rungs(judged, window, given, wrong)):
            for tap, measured in compared(judged.taps, reference, runs, stored).items():
                ratio, own = measured.ratio(), [run[tap] for run in runs]
                fits = LEAST <= ratio.whole <= limit and ratio.token <= 2 * limit
                if fits and _looks_like(judged.taps[tap], reference[tap], own):
                    off = abs(float(np.log(ratio.whole)))
                    rung = max(off - CLOSE, 0.0), number, words
                    found[tap] = min(found.get(tap, rung), rung)
    return {tap: words for tap, (_, _, words) in found.items()}


def windows(judged: Judged, given: Given, taps: list[str]) -> dict[Window, list[str]]:
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


def reference_value(judged: Judged, tap: str) -> HostArray:
    """A tap as the reference computes it from the candidate's own inputs."""
    given = Given(judged.taps, judged.steps)
    window = next(iter(windows(judged, given, [tap])))
    return np.asarray(evaluated(judged.held.model, None, given, window, [tap])[tap])


def _rungs(
    judged: Judged, window: Window, given: Given, wrong: list[str]
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
    """Whether the error is spread as that of own runs: hardly more structure, and no element far off."""
    error, own = np.asarray(candidate, np.float64) - reference, [run - reference for run in runs]
    peak = PEAK if error.size >= SMALL else 2 * PEAK
    if np.abs(error).max() > peak * max(np.abs(run).max() for run in own):
        return False
    structure = max(_structure(run, reference) for run in own)
    return _structure(error, reference) <= 2 * structure + STRUCTURED


def _structure(error: HostArray, reference: HostArray) -> float:
    """The share of the energy in means over like values, beyond that of errors that have nothing to do with
    each other: 0 of these, 1 when all that are averaged are the same; 0 of few elements.

    Rounding has next to none; another formula is a function of the value. Means over an axis would tell no
    more: parameters that are rounded err alike in all tokens and images.
    """
    energy = float((error * error).mean())
    if not energy or error.size < 4 * BINS:
        return 0.0
    groups = np.array_split(error.reshape(-1)[np.argsort(reference, axis=None)], BINS)
    share = sum(group.size * float(group.mean()) ** 2 for group in groups) / error.size / energy
    unrelated = BINS / error.size
    return max((share - unrelated) / (1 - unrelated), 0.0)
