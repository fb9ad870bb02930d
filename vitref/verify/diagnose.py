"""The diagnosis: which known mistakes reproduce what is wrong.

Scope by scope, in the order of the forward pass: a cause that was found is tried on the next scope first,
so that a mistake in every block is searched for once. Then the backward pass, with the causes of the forward
pass in the reference. At last the matched filter, for mistakes that lie below the rounding noise. Nothing is
named that does not explain its scope with rounding noise of its own; then it is "none of the known causes".
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vitref.run import title
from vitref.verify import matched
from vitref.verify.examine import Given
from vitref.verify.hypotheses import Combination, Ground, Hypothesis, every
from vitref.verify.judged import Judged
from vitref.verify.ladder import windows
from vitref.verify.mistakes import Mistake, touches
from vitref.verify.scope import Scope, scope_of
from vitref.verify.search import Found, Search
from vitref.verify.verdicts import Cause, Diagnosis
from vitref.verify.windows import Window

RANKED = 10
"""How many of the best single hypotheses a diagnosis shows."""
SEARCHES = 6
"""How many scopes are searched anew; more different causes than these are not looked for."""

Advance = Callable[[float], None]


def explain(judged: Judged, hypotheses: Iterable[Mistake] | None, advance: Advance) -> Diagnosis:
    """Name what is wrong. `hypotheses`: default all of `vitref.verify.mistakes`.

    A mistake that explains what a lower precision would explain too is preferred, and taken off
    `judged.ladder`.
    """
    return _Explanation(judged, every(hypotheses), advance).run()


def refuted(judged: Judged) -> dict[str, str]:
    """What is left of `judged.ladder` when a single mistake explains its taps as well, to the last bit.

    Asked where more than one link lies between what is given: there an error of the size of a lower
    precision's may be anything.
    """
    doubtful = {
        window: taps
        for window, taps in windows(judged, Given(judged.taps, judged.steps), list(judged.ladder)).items()
        if len(window.places) > 1
    }
    if not doubtful:
        return dict(judged.ladder)
    explanation = _Explanation(judged, every(None), lambda share: None)
    ground = Ground(judged.held.model, judged.held)
    forward = {w: taps for w, taps in doubtful.items() if not w.backward}
    backward = {w: taps for w, taps in doubtful.items() if w.backward}
    explanation.look(ground, forward, backward=False)
    explanation.look(ground, backward, backward=True)
    return dict(judged.ladder)


@dataclass
class _Named:
    """A cause, and the scopes that it explains; `taps`: those alone that it explains, () for all."""

    found: Found
    rivals: list[Found]
    windows: list[Window] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    taps: Sequence[str] = ()


class _Explanation:
    def __init__(self, judged: Judged, mistakes: list[Mistake], advance: Advance) -> None:
        self.judged, self.mistakes, self.advance = judged, mistakes, advance
        self.given = Given(judged.taps, judged.steps)
        self.named: list[_Named] = []
        self.unexplained: list[str] = []
        self.ranked: dict[str, float] = {}
        self.tried = self.searches = 0

    def run(self) -> Diagnosis:
        start = time.perf_counter()
        wrong = self.judged.wrong
        forward = [tap for tap in wrong if not tap.endswith((":dy", ":grad"))]
        ground = Ground(self.judged.held.model, self.judged.held)
        self.look(ground, windows(self.judged, self.given, forward), backward=False)
        rest = [tap for tap in wrong if tap not in forward]
        if rest:
            ground = self._with_causes(ground)
            self.look(ground, windows(self.judged, self.given, rest), backward=True)
        filtered = matched.filtered(self.judged, self.given, self._with_causes(ground), self.mistakes)
        return Diagnosis(
            causes=(*self._causes(), *filtered.causes),
            unexplained=tuple(dict.fromkeys(self.unexplained)),
            ranked=self.ranked,
            undecided=filtered.undecided,
            tried=self.tried,
            seconds=round(time.perf_counter() - start, 2),
        )

    def _note(self, named: _Named, window: Window, wrong: list[str]) -> None:
        named.windows.append(window)
        named.steps += [step for tap in wrong for step in self.judged.span(tap)]

    def look(self, ground: Ground, wrong: Mapping[Window, list[str]], *, backward: bool) -> None:
        """Name what is wrong in each window.

        Where a lower precision explains everything too, a single mistake has to explain it better.
        """
        ladder = self.judged.ladder
        ordered = sorted(wrong, key=lambda window: window.start, reverse=backward)
        for number, window in enumerate(ordered):
            scope = scope_of(self.judged, self.given, ground, window)
            self.advance(number / len(ordered))
            if all(self._drifts(tap) for tap in wrong[window]):
                self.unexplained += [g for tap in wrong[window] for g in self.judged.span(tap)[-1:]]
                continue
            if backward and self._is_explained(scope, ()):
                continue
            lower = all(tap in ladder for tap in wrong[window])
            known = self._known(scope) or self._searched(scope, backward, most=1 if lower else 3)
            explained = [tap for tap in wrong[window] if known and (not known.taps or tap in known.taps)]
            if known is not None:
                self._note(known, window, explained)
            for tap in explained:
                ladder.pop(tap, None)
            rest = [tap for tap in wrong[window] if tap not in explained and not lower]
            self.unexplained += [guilty for tap in rest for guilty in self.judged.span(tap)[-1:]]

    def _drifts(self, tap: str) -> bool:
        """Right from the candidate's own inputs: any mistake that does little would do there."""
        return self.judged.ratios(tap)[0] <= self.judged.limits(tap)[0]

    def _is_explained(self, scope: Scope, combination: Combination) -> bool:
        """Whether these causes leave nothing wrong in another scope."""
        off = scope.difference(combination) if combination else None
        if combination and off is None:
            return False
        measured = scope.confirmed(combination)
        if measured is None:
            return False
        limits = {tap: self.judged.limits(tap)[0] for tap in measured}
        return all(m.ratio().whole <= limits[tap] for tap, m in measured.items())

    def _known(self, scope: Scope) -> _Named | None:
        """A cause that was found elsewhere and explains this scope too; one alone of several, if need be."""
        for named in list(self.named):
            if self._is_explained(scope, named.found.combination):
                return named
            for one in named.found.combination if len(named.found.combination) > 1 else ():
                if self._is_explained(scope, (one,)):
                    alone = _Named(named.found._replace(combination=(one,)), [])
                    self.named.append(alone)
                    return alone
        return None

    def _searched(self, scope: Scope, backward: bool, most: int = 3) -> _Named | None:
        if self.searches == SEARCHES:
            return None
        self.searches += most > 1
        search = Search(scope, self._plausible(scope, backward), advance=lambda share: None)
        found = search.run(most)
        self.tried += len(search.made)
        if not self.ranked:
            self.ranked = dict(list(search.ranked.items())[:RANKED])
        named = _Named(found[0], found[1:]) if found else None
        if named is None and most > 1:
            part = search.partial(np.asarray([self.judged.limits(tap)[0] for tap in scope.wanted]))
            named = _Named(part[0], [], taps=part[1]) if part else None
        if named is not None:
            self.named.append(named)
        return named

    def _plausible(self, scope: Scope, backward: bool) -> list[Mistake]:
        """Mistakes of backward passes for a wrong backward pass; all when no outputs are given."""
        if not backward:
            return [mistake for mistake in self.mistakes if not mistake.backward]
        outputs = any(not tap.endswith((":dy", ":grad")) for tap in self.judged.taps if tap != "image")
        return [mistake for mistake in self.mistakes if mistake.backward or not outputs or mistake.edits]

    def _with_causes(self, ground: Ground) -> Ground:
        """The ground with every cause in it, as far as they go together."""
        done: dict[str, Hypothesis] = {}
        for one in (h for named in self.named for h in named.found.combination):
            model = None if one.name in done else ground.changed((one,))
            if model is not None:
                done[one.name] = one
                ground = Ground(model, ground.held)
        return ground

    def _causes(self) -> list[Cause]:
        """Every mistake once, with all the places where it was found."""
        causes: dict[str, Cause] = {}
        for named in self.named:
            for one in named.found.combination:
                cause, known = self._cause(named, one), causes.get(one.name)
                if known is None:
                    causes[one.name] = cause
                else:
                    places = tuple(dict.fromkeys([*known.places, *cause.places]))
                    causes[one.name] = replace(known, places=places)
        return list(causes.values())

    def _cause(self, named: _Named, one: Hypothesis) -> Cause:
        mistake, found = one.mistake, named.found
        fitted = any(h.value is not None for h in found.combination)
        rivals = [r for r in named.rivals if _near(r, found) and one not in r.combination]
        rivals = [r for r in rivals if fitted or all(h.value is None for h in r.combination)]
        names = dict.fromkeys(h.name for r in rivals for h in r.combination if h.name != one.name)
        names |= dict.fromkeys(name for name in mistake.alike)
        certain = all(name in mistake.alike for name in names)
        return Cause(
            mistake=mistake.name,
            what=mistake.what,
            places=(one.at,) if one.at else self._places(named, mistake),
            confidence="certain" if certain else "likely",
            residual=found.left,
            before=found.before,
            value=one.value,
            neighbours=tuple(names),
            lines="\n".join(text for text in (mistake.look, mistake.difference(one.value)) if text),
            evidence=mistake.evidence,
            refute=mistake.refute,
        )

    def _places(self, named: _Named, mistake: Mistake) -> tuple[str, ...]:
        """The steps that the mistake changes; links where it changes how they are joined."""
        inside = touches(mistake, self.judged.held.model.config) or frozenset()
        steps = self.judged.steps
        own = {step.path for step in steps.steps if step.component in inside or step.path in inside}
        found = [step for step in dict.fromkeys(named.steps) if step in own]
        if found:
            return tuple(found)
        links = self.judged.held.model.links
        places = dict.fromkeys(place for window in named.windows for place in window.places)
        return tuple(links[place].name or title(links[place].part) for place in places)


def _near(rival: Found, found: Found) -> bool:
    """Whether a rival leaves no more than twice as much."""
    return rival.left <= 2 * max(found.left, 1.0)
