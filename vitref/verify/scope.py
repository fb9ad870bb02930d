"""A scope: one window of the candidate, in which hypotheses are tried.

It keeps the reference's values, so that a hypothesis computes only the links that it changes, and one vector
of everything that is compared, in multiples of the noise, so that hypotheses can be added up.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.run import title
from vitref.verify.evaluate import Arrays, Evaluation, Model
from vitref.verify.examine import Formats, Given
from vitref.verify.hypotheses import COMPOSITES, MISFITS, Combination, Ground, touched
from vitref.verify.judged import Judged
from vitref.verify.measure import Measured
from vitref.verify.mistakes import Mistake, touches
from vitref.verify.numerics import Realisation
from vitref.verify.windows import Window, boundary, compared, evaluated, taps_in

SHORT = 2
"""Longer windows are screened in float32: what differs is then off by rounding noise, which is small enough
to choose by; what is chosen is confirmed in float64."""
KEPT = 100_000
"""Outputs of so many elements are kept for the next candidate of the same weights and image."""
SAMPLE, TOTAL, FEWEST = 3000, 24_000, 64
"""Elements of each tap that enter the vector of a hypothesis; of all taps together; of each at least."""


def scope_of(judged: Judged, given: Given, ground: Ground, window: Window) -> "Scope":
    """The scope of a window, with the noise that was measured."""
    wanted = tuple(taps_in(given, window))
    noise = {tap: judged.found.local[tap].scale for tap in wanted}
    return Scope(ground, given, window, judged.formats, wanted, noise)


@dataclass(eq=False)
class Scope:
    """ground   what hypotheses are put into
    given, window, formats   the candidate's taps, and where and how they are compared
    wanted   the taps that are compared
    noise    tap -> rounding noise of one element (root of the mean square), of the reference
    dtype    in which hypotheses are screened
    """

    ground: Ground
    given: Given
    window: Window
    formats: Formats
    wanted: tuple[str, ...]
    noise: Mapping[str, float]
    dtype: type = np.float64
    _links: dict[int, tuple[HostArray, HostArray, Arrays]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.candidate = {tap: np.asarray(self.given.taps[tap], np.float64) for tap in self.wanted}
        self.reference = self.values(self.ground.model)
        self.error = self.vector(self.candidate, self.reference)
        self.base = self.reference
        if (
            self.formats.precision != "float64"
            and len(self.window.places) > SHORT
            and not self.window.backward
        ):
            self.dtype, self._links = np.float32, {}
            self.base = self.values(self.ground.model, np.float32)

    def values(self, model: Model, dtype: type = np.float64) -> dict[str, HostArray]:
        """Tap -> its value in a changed model; links that are not changed are not computed again."""
        if self.window.backward:
            return evaluated(model, None, self.given, self.window, self.wanted)
        found: dict[str, HostArray] = {}
        evaluation, wanted = Evaluation(model, dtype=dtype), set(self.wanted)
        x = self._entry(model)
        for place in self.window.places:
            known = self._links.get(place) if dtype is self.dtype else None
            if known is not None and known[0] is x and not self._touched(model, place):
                x, taps = known[1], known[2]
            else:
                done = evaluation.forward(place, x, self._given(place))
                taps = {tap: array for tap, array in done.taps.items() if tap in wanted}
                y = np.asarray(done.value)
                if model is self.ground.model and dtype is self.dtype:
                    self._links[place] = (x, y, taps)
                elif known is not None and np.array_equal(y, known[1]):
                    y = known[1]
                x = y
            found.update(taps)
        return found

    def vector(self, ours: Arrays, theirs: Arrays) -> HostArray:
        """ours - theirs, a sample of every tap, so that the square of a tap's part is that of its ratio."""
        parts = []
        for tap in self.wanted:
            step = self._step(tap)
            off = (ours[tap].reshape(-1)[::step] - theirs[tap].reshape(-1)[::step]) / self.noise[tap]
            parts.append(off / np.sqrt(max(off.size, 1)))
        return np.concatenate(parts) if parts else np.zeros(0)

    def ratios(self, vector: HostArray) -> HostArray:
        """The ratio of every tap."""
        with np.errstate(over="ignore"):
            return np.sqrt(np.add.reduceat(vector * vector, self._starts))

    def cost(self, vector: HostArray) -> float:
        """How much is unexplained: sum over taps of log(1 + ratio^2), so that no tap outweighs all others."""
        with np.errstate(over="ignore"):
            return float(np.log1p(np.add.reduceat(vector * vector, self._starts)).sum())

    @cached_property
    def _starts(self) -> list[int]:
        sizes = [len(range(0, self.candidate[tap].size, self._step(tap))) for tap in self.wanted]
        return [0, *np.cumsum(sizes)[:-1].tolist()]

    def _step(self, tap: str) -> int:
        """One element in so many enters the vector."""
        most = max(min(SAMPLE, TOTAL // len(self.wanted)), FEWEST)
        return max(1, self.candidate[tap].size // most)

    def difference(self, combination: Combination) -> HostArray | None:
        """What these mistakes change, as a vector; None where they have no place or change nothing."""
        values = self._mistaken(combination)
        if values is None:
            return None
        try:
            with np.errstate(all="ignore"):
                off = self.vector(values, self.base)
        except MISFITS:
            return None
        return off if off.any() and np.isfinite(off).all() else None

    def _mistaken(self, combination: Combination) -> Arrays | None:
        """Tap -> its value with the mistakes in the model; None where they do not fit.

        Where nothing comes from the candidate they are the same for all candidates, and kept.
        """
        if not self._is_alone:
            return self._computed(combination)
        names = tuple((one.name, one.value, one.at) for one in combination)
        kept: dict[Any, Arrays | None] = self.ground.held.weights.kept(self._key, dict)
        if names not in kept:
            kept[names] = self._computed(combination)
        return kept[names]

    def _computed(self, combination: Combination) -> Arrays | None:
        model = self.ground.changed(combination)
        if model is None:
            return None
        try:
            with np.errstate(all="ignore"):
                return self._passed_on(self.values(model, self.dtype))
        except MISFITS:
            return None

    def _passed_on(self, values: dict[str, HostArray]) -> dict[str, HostArray]:
        """With an output for steps that the mistake leaves out: what they would have been given."""
        for tap in self.wanted:
            step = self.given.steps.makes.get(tap)
            if tap not in values and step is not None and len(step.inputs) == 1:
                source = step.inputs[0]
                given = values.get(source) if source not in self.candidate else self.candidate[source]
                if given is not None and given.shape == self.candidate[tap].shape:
                    values[tap] = given
        return values

    @cached_property
    def _is_alone(self) -> bool:
        """Whether nothing in the window is the candidate's but what its last link returns."""
        window = self.window
        inside = any(self.given.outputs(place) for place in range(window.start, window.stop))
        small = sum(array.size for array in self.candidate.values()) < KEPT
        unchanged = self.ground.model is self.ground.held.model
        return window.start == 0 and not inside and not window.backward and unchanged and small

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        image = hashlib.sha256(np.ascontiguousarray(self.ground.model.image).data).hexdigest()
        return ("hypotheses", image, self.wanted, self.dtype)

    def places(self, mistake: Mistake) -> list[str]:
        """The steps in which the mistake may be alone, where there are several."""
        inside = touches(mistake, self.ground.model.config) or frozenset()
        steps = [step for step in self.given.steps.steps if step.place in self.window.places]
        found = [step.path for step in steps if step.component in inside or step.path in inside]
        return found if len(found) > 1 else []

    def confirmed(self, combination: Combination, runs: int = 2) -> dict[str, Measured] | None:
        """Tap -> the candidate against the changed model, in multiples of that model's own noise."""
        model = self.ground.changed(combination)
        if model is None:
            return None
        try:
            with np.errstate(all="ignore"):
                reference = self._passed_on(self.values(model))
                own = [self._passed_on(self._run(model, seed)) for seed in range(runs)]
        except MISFITS:
            return None
        stored = {tap: self.formats.of(tap) for tap in self.wanted}
        return compared(self.candidate, reference, own, stored)

    def _run(self, model: Model, seed: int) -> dict[str, HostArray]:
        realisation: Realisation = self.formats.realisation(self.given.steps, seed)
        return evaluated(model, realisation, self.given, self.window, self.wanted)

    def _entry(self, model: Model) -> HostArray:
        """What enters the first link."""
        return model.image if self.window.start == 0 else self._start

    @cached_property
    def _start(self) -> HostArray:
        name = boundary(self.given, self.given.steps, self.window.start - 1)
        assert name is not None
        return np.asarray(self.given.taps[name], np.float64)

    def _given(self, place: int) -> Arrays:
        known, taps = self.candidate, self.given.taps
        return {name: known[name] if name in known else taps[name] for name in self.given.outputs(place)}

    def _touched(self, model: Model, place: int) -> bool:
        link = self.ground.model.links[place]
        inside = {step.component for step in self.given.steps.steps if step.place == place}
        inside |= COMPOSITES.get(title(link.part), frozenset())
        return touched(self.ground.model, model, place, frozenset(inside))
