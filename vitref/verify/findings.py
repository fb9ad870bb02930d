"""From what is judged to a `Report`: a verdict for every tap, and the wrong taps by the step to blame."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.verify import ladder
from vitref.verify.judged import Judged
from vitref.verify.measure import Measured
from vitref.verify.steps import bare
from vitref.verify.verdicts import Diagnosis, Guilty, Picture, Report, TapVerdict

LARGEST_PICTURE = 256
"""Rows and columns of an attention map that a report holds."""


def report(judged: Judged, causes: Diagnosis | None, about: Mapping[str, Any]) -> Report:
    taps = tuple(_verdict(judged, tap, causes) for tap in judged.found.local)
    guilty = tuple(_guilty(judged))
    named = {verdict.verdict for verdict in taps}
    outcome = "differ" if guilty else "agree"
    if outcome == "agree" and "lower precision" in named:
        outcome = "agree in lower precision"
    if "systematic" in named:
        outcome = "differ"
    return Report(
        outcome,
        judged.formats.precision,
        taps,
        guilty,
        causes,
        tuple(step.path for step in judged.steps.steps if not _is_given(step.outputs, judged.taps)),
        tuple(_pictures(judged)),
        about,
    )


def _is_given(outputs: tuple[str, ...], taps: Mapping[str, HostArray]) -> bool:
    return any(name in taps for name in outputs)


def _verdict(judged: Judged, tap: str, causes: Diagnosis | None) -> TapVerdict:
    found, ratio = judged.found.local[tap], judged.found.local[tap].ratio()
    local, end_to_end = judged.ratios(tap)
    limit, limit_end_to_end = judged.limits(tap)
    error, noise = found.relative
    kind, why = _kind(judged, tap, found, causes)
    span = judged.span(tap) if kind in ("bug", "lower precision") else ()
    return TapVerdict(
        tap=tap,
        step=judged.steps.makes[bare(tap)].path,
        verdict=kind,
        format=found.stored,
        local=local,
        end_to_end=end_to_end,
        threshold=limit,
        threshold_end_to_end=limit_end_to_end,
        error=error,
        noise=noise,
        shape=found.shape,
        token=ratio.worst,
        span=span,
        why=why,
        worst=found.worst if kind == "bug" else (),
    )


def _kind(judged: Judged, tap: str, found: Measured, causes: Diagnosis | None) -> tuple[str, str]:
    """The verdict on a tap, and the reason where there is one."""
    if tap in judged.wrong:
        lower = judged.ladder.get(tap)
        if lower:
            return "lower precision", lower
        alike = judged.suspected.get(tap)
        return "bug", f"as far off as {alike} would be, which this output alone cannot tell" if alike else ""
    systematic = causes.below_noise(tap) if causes else ""
    if systematic:
        return "systematic", systematic
    if judged.ratios(tap)[1] > judged.limits(tap)[1]:
        return "inherited", ""
    return ("exact" if found.exact else "rounding"), ""


def _guilty(judged: Judged) -> Iterator[Guilty]:
    """Wrong taps by the step that is to blame: a forward pass that is wrong has a wrong backward pass too."""
    forward: dict[tuple[str, ...], list[str]] = {}
    backward: list[tuple[tuple[str, ...], list[str]]] = []
    for tap in judged.bugs:
        span = judged.span(tap)
        if not tap.endswith((":dy", ":grad")):
            forward.setdefault(span, []).append(tap)
            continue
        owner = next((known for known in forward if set(known) & set(span)), None)
        if owner is not None:
            forward[owner].append(tap)
            continue
        for number, (known, taps) in enumerate(backward):
            common = tuple(step for step in known if step in span)
            if common:
                backward[number] = (common, [*taps, tap])
                break
        else:
            backward.append((span, [tap]))
    for span, taps in [*forward.items(), *backward]:
        yield _group(judged, span, taps)


def _group(judged: Judged, span: tuple[str, ...], taps: list[str]) -> Guilty:
    ways = {"backward" if tap.endswith((":dy", ":grad")) else "forward" for tap in taps}
    ratio = {tap: max(judged.ratios(tap)) for tap in taps}
    worst = sorted(taps, key=lambda tap: -ratio[tap])
    passes = "both" if len(ways) == 2 else ways.pop()
    return Guilty(span[-1], span, passes, tuple(worst), ratio[worst[0]])


def _pictures(judged: Judged) -> Iterator[Picture]:
    """The attention map that differs most, of the image and head where it does."""
    maps = [tap for tap in judged.bugs if tap.endswith((".softmax", ".scores"))]
    for tap in maps[:1]:
        candidate = np.asarray(judged.taps[tap], np.float64)
        reference = ladder.reference_value(judged, tap)
        off = np.abs(candidate - reference).reshape(*candidate.shape[:2], -1).max(axis=-1)
        image, head = np.unravel_index(int(np.argmax(off)), off.shape)
        cut = np.s_[image, head, :LARGEST_PICTURE, :LARGEST_PICTURE]
        yield Picture(f"{tap}, image {image}, head {head}", candidate[cut], reference[cut])
