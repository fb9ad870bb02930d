"""The search for what explains one scope: single mistakes, then two together, then three.

Every hypothesis is computed once. Small effects add up, so pairs are ranked by their sum first; effects that
are large do not, so the best singles are joined with others and computed. What comes out is confirmed with
the changed model's own rounding noise: a mistake may amplify rounding, and then the reference's noise would
refuse the right name.
"""

import importlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.verify.hypotheses import Combination, Hypothesis, scanned
from vitref.verify.mistakes import Mistake
from vitref.verify.rule import thresholds
from vitref.verify.scope import Scope

CONFIRMED = 8
"""How many of the best are confirmed, in the order of what they leave."""
NEAR = 60.0
"""Multiples of the threshold that may be left for a hypothesis to be worth confirming."""
CLEAN = 2.0
"""Multiples of its own noise that a right explanation leaves at most, as a rule."""
THREADS = 4
BEAM = 10
LINEAR = 40
"""How many pairs are computed that look best as a sum."""


class Found(NamedTuple):
    """A combination that explains a scope.

    left     the largest ratio that is left, in multiples of its own noise; `before` without it
    cost     as of `Scope.cost`, with its own noise
    """

    combination: Combination
    left: float
    before: float
    cost: float


@dataclass(eq=False)
class Search:
    """One scope and the differences that hypotheses make in it; `budget` in seconds for pairs."""

    scope: Scope
    mistakes: Iterable[Mistake]
    budget: float = 120.0
    advance: Callable[[float], None] = lambda share: None
    made: dict[Combination, HostArray | None] = field(default_factory=dict)

    def run(self, most: int = 3) -> list[Found]:
        """Combinations of at most so many that explain everything in the scope, best first."""
        singles = self._singles()
        found = self._confirm([(one,) for one in singles])
        if found:
            return found
        if most == 1:
            return self._confirm(self._in_one_step(time.monotonic() + self.budget))
        return self._together(singles)

    def partial(self, limits: HostArray) -> tuple[Found, list[str]] | None:
        """The single mistake that explains most of the wrong taps and leaves the others as they are, and
        what it explains. For a scope with several mistakes, not all of which are known.

        `limits`: of every tap of the scope.
        """
        before, best = self.scope.ratios(self.scope.error), None
        for combination in sorted(self._alone(), key=self._cost)[:CONFIRMED]:
            off = self.made[combination]
            assert off is not None
            after = self.scope.ratios(self.scope.error - off)
            explained = (before > limits) & (after <= limits)
            worse = (after > limits) & (after > 1.01 * before)
            measured = self.scope.confirmed(combination) if explained.any() and not worse.any() else None
            if measured is None:
                continue
            taps = [tap for tap, fits in zip(self.scope.wanted, explained, strict=True) if fits]
            left = max(measured[tap].ratio().whole for tap in taps)
            if left <= thresholds(self.scope.formats.precision).explained and (
                best is None or len(taps) > len(best[1])
            ):
                best = Found(combination, left, float(before[explained].max()), 0.0), taps
        return best

    @property
    def ranked(self) -> dict[str, float]:
        """Mistake -> what it leaves by itself, best first; the empty name stands for no mistake."""
        left = {c[0].name: self._left(c) for c in sorted(self._alone(), key=self._cost, reverse=True)}
        return dict(sorted(left.items(), key=lambda item: item[1]))

    def difference(self, combination: Combination) -> HostArray | None:
        if combination not in self.made:
            self.made[combination] = self.scope.difference(combination)
        return self.made[combination]

    def _singles(self) -> list[Hypothesis]:
        """Every hypothesis that changes anything, best first; constants at their best value."""
        self._compute((one,) for mistake in self.mistakes for one in scanned(mistake))
        best = self._best_values()
        self._compute((one,) for one in self._refined(best[: 4 * BEAM]))
        return self._best_values()

    def _compute(self, combinations: Iterable[Combination]) -> None:
        """All of them, on as many threads as there are cores, up to a few."""
        waiting = [c for c in dict.fromkeys(combinations) if c not in self.made]
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            for number, (combination, off) in enumerate(
                zip(waiting, pool.map(self.scope.difference, waiting), strict=True)
            ):
                self.made[combination] = off
                self.advance(number / len(waiting))

    def _best_values(self) -> list[Hypothesis]:
        ordered = sorted(self._alone(), key=self._cost)
        first: dict[str, Hypothesis] = {}
        for combination in ordered:
            first.setdefault(combination[0].name, combination[0])
        return list(first.values())

    def _refined(self, hypotheses: Iterable[Hypothesis]) -> Iterable[Hypothesis]:
        """The values of constants that leave least."""
        for one in hypotheses:
            if one.mistake.free is not None and one.value is not None:
                yield self._refine(one, ())

    def _refine(self, one: Hypothesis, others: Combination) -> Hypothesis:
        free = one.mistake.free
        assert free is not None
        assert one.value is not None
        width = (np.log(free.high) - np.log(free.low)) / 5

        def left(log: float) -> float:
            off = self.scope.difference((*others, Hypothesis(one.mistake, float(np.exp(log)))))
            return 1e9 if off is None else self.scope.cost(self.scope.error - off)

        bounds = (
            max(np.log(one.value) - width, np.log(free.low)),
            min(np.log(one.value) + width, np.log(free.high)),
        )
        options = {"xatol": 1e-7, "maxiter": 40}
        result = importlib.import_module("scipy.optimize").minimize_scalar(
            left, bounds=bounds, method="bounded", options=options
        )
        return Hypothesis(one.mistake, float(np.exp(result.x)))

    def _together(self, singles: list[Hypothesis]) -> list[Found]:
        """Two mistakes, or three."""
        end = time.monotonic() + self.budget
        self._compute(self._linear(singles))
        found = self._confirm(sorted(self._made(2), key=self._cost))
        if found:
            return found
        found = self._confirm(self._in_one_step(end))
        if found:
            return found
        best = self._extended([(one,) for one in singles[:BEAM]], singles, end)
        found = self._confirm(best)
        if found or not best:
            return found
        pairs_ = sorted(self._made(2), key=self._cost)[: BEAM // 2]
        return self._confirm(self._extended(pairs_, singles, end))

    def _in_one_step(self, end: float) -> list[Combination]:
        """Mistakes that are in one step alone, computed, best first, as far as the time goes."""
        made: list[Combination] = []
        for one in dict.fromkeys(h.mistake for h in self._fixed()):
            if time.monotonic() > end:
                break
            more = [(Hypothesis(one, at=step),) for step in self.scope.places(one)]
            self._compute(more)
            made += more
        return sorted((c for c in made if self.made[c] is not None), key=self._cost)

    def _fixed(self) -> list[Hypothesis]:
        return [one for one in (c[0] for c in self._alone()) if one.mistake.free is None and not one.at]

    def _linear(self, singles: list[Hypothesis]) -> list[Combination]:
        """The pairs whose sum leaves least."""
        vectors = [self.made[(one,)] for one in singles]
        usable = [(one, v) for one, v in zip(singles, vectors, strict=True) if v is not None]
        if len(usable) < 2:
            return []
        d = np.stack([v for _, v in usable])
        d, error = self._compressed(d, self.scope.error)
        along, gram = d @ error, d @ d.T
        size = np.diag(gram)
        left = size[:, None] + size[None, :] + 2 * gram - 2 * (along[:, None] + along[None, :])
        left[np.tril_indices(len(usable))] = np.inf
        order = np.argsort(left, axis=None)[: 4 * LINEAR]
        pairs_ = [np.unravel_index(int(at), left.shape) for at in order]
        chosen = [(usable[i][0], usable[j][0]) for i, j in pairs_ if np.isfinite(left[i, j])]
        known = dict(usable)
        cost: dict[Combination, float] = {}
        for one, other in chosen:
            cost[one, other] = self.scope.cost(self.scope.error - known[one] - known[other])
        return sorted(cost, key=lambda pair: cost[pair])[:LINEAR]

    def _compressed(self, d: HostArray, error: HostArray) -> tuple[HostArray, HostArray]:
        """With taps weighed so that one which is far off does not outweigh all others."""
        sizes = self.scope.ratios(error)
        lengths = np.diff([*self.scope._starts, error.size])
        weight = np.repeat(1 / np.sqrt(1 + sizes), lengths)
        return d * weight, error * weight

    def _extended(
        self, starts: list[Combination], singles: list[Hypothesis], end: float
    ) -> list[Combination]:
        """Combinations with one mistake more, computed, best first, as far as the time goes."""
        made: list[Combination] = []
        for start in starts:
            if time.monotonic() > end:
                break
            names = {h.name for h in start}
            more = [(*start, one) for one in singles if one.name not in names]
            self._compute(more)
            made += more
        return sorted((c for c in made if self.made[c] is not None), key=self._cost)

    def _confirm(self, combinations: Iterable[Combination]) -> list[Found]:
        """Those that explain everything, with their own noise."""
        found = []
        limit = thresholds(self.scope.formats.precision).explained
        before = float(self.scope.ratios(self.scope.error).max(initial=0))
        for combination in itertools.islice(combinations, CONFIRMED):
            if self._left(combination) > NEAR * limit and self._left(combination) > before / 20:
                continue
            measured = self.scope.confirmed(self._polished(combination))
            if measured is None:
                continue
            ratios = [m.ratio().whole for m in measured.values()]
            if max(ratios, default=np.inf) <= limit:
                cost = float(np.log1p(np.square(ratios)).sum())
                found.append(Found(self._polished(combination), max(ratios), before, cost))
        return sorted(found, key=self._preferred)

    def _polished(self, combination: Combination) -> Combination:
        """In a combination of several, constants at the best value beside the others."""
        if len(combination) < 2 or all(one.value is None for one in combination):
            return combination
        done = list(combination)
        for at, one in enumerate(combination):
            if one.value is not None:
                others = tuple(h for number, h in enumerate(done) if number != at)
                done[at] = self._refine(one, others)
        return tuple(done)

    def _preferred(self, found: Found) -> tuple[bool, bool, float]:
        """What leaves hardly more than rounding; and of these, a mistake without a fitted constant."""
        return found.left > CLEAN, any(one.value is not None for one in found.combination), found.cost

    def _cost(self, combination: Combination) -> float:
        off = self.made.get(combination)
        return float("inf") if off is None else self.scope.cost(self.scope.error - off)

    def _left(self, combination: Combination) -> float:
        off = self.difference(combination)
        return (
            float("inf") if off is None else float(self.scope.ratios(self.scope.error - off).max(initial=0))
        )

    def _alone(self) -> list[Combination]:
        return self._made(1)

    def _made(self, size: int) -> list[Combination]:
        return [c for c, off in self.made.items() if off is not None and len(c) == size]
