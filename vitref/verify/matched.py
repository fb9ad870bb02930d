"""The matched filter: mistakes that are smaller than the rounding noise, found by their shape.

A mistake m changes the taps by delta = m - r. What is there of it in the candidate is
alpha = <c - r, delta> / <delta, delta>, weighed by how well each element is known: 1 when the mistake is
there, 0 when it is not. Honest rounding gives alpha around 0, and how far around is measured on own runs; a
mistake whose own scatter is too wide cannot be decided, which is said instead of "no". Alpha decides, never
its significance: honest libraries have tiny systematic errors of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vitref.array import HostArray
from vitref.verify.examine import Given
from vitref.verify.hypotheses import MISFITS, Ground, Hypothesis, scanned
from vitref.verify.judged import Judged
from vitref.verify.mistakes import Mistake
from vitref.verify.precision import UNIT
from vitref.verify.rule import RUNS
from vitref.verify.scope import Scope, scope_of
from vitref.verify.verdicts import Cause
from vitref.verify.windows import Window, boundary, evaluated, taps_in

LEAST, MOST = 0.75, 1.25
"""Alpha of a mistake that is there."""
RESOLVED = 0.5
"""|mean| + 3 standard deviations of alpha over own runs, above which nothing can be said."""
RESOLVED_BY_OUTPUT = 0.2
"""The same where nothing but the final output is given: one image says little."""
HIDDEN = 3.0
"""A mistake that would stand out by more than so many thresholds is no mistake below the noise."""
MANY = 6
"""So many windows tell which mistakes could hide."""
TENFOLD, FEW_TENTHS = 10.0, 0.1
"""By how much eps is changed to measure its effect, and the share of that from which on it is believed."""
FAINT = 1e-5
"""Multiples of the noise below which a mistake does nothing."""


@dataclass
class Filtered:
    """causes found below the noise, and mistakes about which nothing can be said."""

    causes: tuple[Cause, ...] = ()
    undecided: tuple[str, ...] = ()


@dataclass
class _Sums:
    """Of one hypothesis over all windows: <e, d> for the candidate and for every own run, and <d, d>.

    Twice: against the reference, and against an own run that rounds where the candidate rounds. `groups` has
    <e, d> of the candidate and <d, d> by token and by channel, tap by tap.
    """

    dd: float = 0.0
    candidate: HostArray = field(default_factory=lambda: np.zeros(2))
    runs: HostArray = field(default_factory=lambda: np.zeros((2, RUNS)))
    taps: list[tuple[float, str]] = field(default_factory=list)
    groups: dict[str, list[tuple[HostArray, HostArray]]] = field(default_factory=dict)

    def alpha(self) -> tuple[float, float]:
        """(alpha, how wide its scatter is), of the residual whose scatter is less."""
        own = self.runs / self.dd
        own[1, 0] = np.nan
        found = self.candidate / self.dd
        spread = [
            max(abs(float(np.nanmean(row))) + 3 * float(np.nanstd(row, ddof=1)), 3 * self._uncertainty(kind))
            for kind, row in enumerate(own)
        ]
        best = int(np.argmin(spread))
        return float(found[best]), spread[best]

    def _uncertainty(self, kind: int) -> float:
        """The standard error of alpha, by how much its parts disagree: tokens, or channels.

        Own runs may be the same to the last bit, and then scatter less than a candidate that rounds
        elsewhere; what is left of its error after alpha delta tells.
        """
        alpha, widest = float(self.candidate[kind] / self.dd), 0.0
        for parts in self.groups.values():
            off = np.concatenate([e[kind] - alpha * d for e, d in parts])
            widest = max(widest, float((off * off).sum()) * off.size / max(off.size - 1, 1))
        return float(np.sqrt(widest)) / self.dd


def filtered(judged: Judged, given: Given, ground: Ground, mistakes: Iterable[Mistake]) -> Filtered:
    """Try every mistake that could hide in what is within rounding."""
    clean = _windows(judged, given)
    if not clean:
        return Filtered()
    mistakes = list(mistakes)
    another = _another_eps(ground, mistakes)
    hidden = [*_hidden(judged, given, ground, mistakes, clean), *another]
    sums = {one: _Sums() for one in hidden}
    for window in clean:
        _add(judged, given, ground, window, sums)
    limit = RESOLVED if len(clean) > 1 else RESOLVED_BY_OUTPUT
    there: list[tuple[float, Hypothesis, float, _Sums]] = []
    undecided = []
    for one, total in sums.items():
        if not total.dd:
            continue
        alpha, spread = total.alpha()
        if one in another:
            eps = ground.model.config.eps * (1 + (TENFOLD - 1) * alpha)
            if abs(alpha) >= max(FEW_TENTHS, 4 * spread) and eps > 0:
                there.append((alpha * alpha * total.dd, one._replace(value=eps), 1.0, total))
        elif spread >= limit:
            undecided.append(one.name)
        elif LEAST <= alpha <= MOST:
            there.append((alpha * alpha * total.dd, one, alpha, total))
    return Filtered(tuple(_causes(judged, there)), tuple(dict.fromkeys(undecided)))


def _another_eps(ground: Ground, mistakes: list[Mistake]) -> list[Hypothesis]:
    """The mistake whose constant is estimated by its share: small changes of eps act in proportion."""
    eps = ground.model.config.eps * TENFOLD
    return [
        Hypothesis(m, eps) for m in mistakes if m.name == "eps" and m.free and m.free.low < eps < m.free.high
    ]


def _windows(judged: Judged, given: Given) -> list[Window]:
    """The windows of the forward pass in which nothing is wrong, each from one given output to the next."""
    wrong = {judged.steps.place(tap) for tap in judged.bugs}
    found, start, last = [], 0, judged.steps.steps[-1].place
    for place in range(last + 1):
        if boundary(given, judged.steps, place) is not None or place == last:
            window = Window(start, place)
            if taps_in(given, window) and wrong.isdisjoint(window.places):
                found.append(window)
            start = place + 1
    return found


def _hidden(
    judged: Judged, given: Given, ground: Ground, mistakes: Iterable[Mistake], clean: list[Window]
) -> list[Hypothesis]:
    """Mistakes that change something in one of the first or last windows, and not too much."""
    chosen = clean if len(clean) <= MANY else [*clean[: MANY // 2], *clean[-MANY // 2 :]]
    scopes = [scope_of(judged, given, ground, window) for window in chosen]
    found = []
    for mistake in mistakes:
        if mistake.backward or mistake.free is not None:
            continue
        for one in scanned(mistake):
            largest = 0.0
            for scope in scopes:
                largest = max(largest, _stands_out(judged, scope, one))
                if largest >= HIDDEN:
                    break
            if FAINT < largest < HIDDEN:
                found.append(one)
    return found


def _stands_out(judged: Judged, scope: Scope, one: Hypothesis) -> float:
    """By how many thresholds the mistake would move the tap that it moves most; 0 where it does not fit."""
    off = scope.difference((one,))
    if off is None:
        return 0.0
    limits = np.asarray([judged.limits(tap)[0] for tap in scope.wanted])
    return float((scope.ratios(off) / limits).max(initial=0))


def _add(
    judged: Judged, given: Given, ground: Ground, window: Window, sums: Mapping[Hypothesis, _Sums]
) -> None:
    scope = scope_of(judged, given, ground, window)
    runs = [
        evaluated(ground.model, judged.formats.realisation(judged.steps, seed), given, window, scope.wanted)
        for seed in range(RUNS)
    ]
    for one, total in sums.items():
        model = ground.changed((one,))
        if model is None:
            continue
        try:
            with np.errstate(all="ignore"):
                mistaken = scope.values(model)
            deltas = {tap: mistaken[tap] - scope.reference[tap] for tap in scope.wanted}
        except MISFITS:
            continue
        for tap, delta in deltas.items():
            if delta.any():
                _add_tap(judged, scope, tap, delta, runs, total)


def _add_tap(
    judged: Judged, scope: Scope, tap: str, delta: HostArray, runs: list[dict[str, HostArray]], total: _Sums
) -> None:
    r, c = scope.reference[tap], scope.candidate[tap]
    unit = UNIT[judged.formats.of(tap)]
    typical = float(np.sqrt((r * r).mean()))
    weight = delta / (unit * np.abs(r) + 0.05 * unit * typical) ** 2
    dd = float((weight * delta).sum())
    total.dd += dd
    total.taps.append((dd, tap))
    bases = (r, runs[0][tap])
    for name, axes in (("token", -1), ("channel", tuple(range(r.ndim - 1)))):
        each = np.stack([np.ravel((weight * (c - base)).sum(axis=axes)) for base in bases])
        total.groups.setdefault(name, []).append((each, np.ravel((weight * delta).sum(axis=axes))))
    for kind, base in enumerate(bases):
        total.candidate[kind] += float((weight * (c - base)).sum())
        for number, run in enumerate(runs):
            total.runs[kind, number] += float((weight * (run[tap] - base)).sum())


def _causes(judged: Judged, there: list[tuple[float, Hypothesis, float, _Sums]]) -> Iterable[Cause]:
    """The mistake that explains most; the others that are there as well are told apart by nothing."""
    if not there:
        return
    ordered = sorted(there, key=lambda item: -item[0])
    explained, one, alpha, total = ordered[0]
    rivals = tuple(other.name for _, other, _, _ in ordered[1:])
    mistake = one.mistake
    largest = max(dd for dd, _ in total.taps)
    places = [tap for dd, tap in total.taps if dd > 1e-4 * largest]
    yield Cause(
        mistake=mistake.name,
        what=mistake.what,
        places=tuple(places),
        confidence="likely" if rivals else "certain",
        residual=max(judged.ratios(tap)[0] for tap in places),
        before=max(judged.ratios(tap)[0] for tap in places),
        value=one.value,
        share=alpha,
        neighbours=rivals,
        lines="\n".join(text for text in (mistake.look, mistake.difference(one.value)) if text),
        evidence=mistake.evidence,
        refute=mistake.refute,
    )
