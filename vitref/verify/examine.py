"""Every tap of a candidate beside the reference and beside own runs in its precision, link by link.

Twice: from the candidate's own inputs ("local": each step by itself), and from the image alone ("end to
end"). What lies between two links is kept on disk, so that memory holds the taps of one link at a time.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.verify.evaluate import Cast, Done, Evaluation, Model
from vitref.verify.measure import Measured, measured, worst_elements
from vitref.verify.numerics import Realisation
from vitref.verify.precision import UNIT, holds, rounded, stored_in
from vitref.verify.rule import RUNS
from vitref.verify.steps import COMPOSITE, Steps, bare

Taps = Mapping[str, HostArray]
Advance = Callable[[float], None]
PASSED_ON = (COMPOSITE, "identity")
"""Components that return what they are given."""


@dataclass(frozen=True)
class Formats:
    """In which precision the candidate computes, and stores each tap.

    fused   nothing is seen of the inside of attention, which may be one kernel
    """

    precision: str
    taps: Mapping[str, str]

    @property
    def fused(self) -> bool:
        return not any(tap.endswith(".softmax") for tap in self.taps)

    def of(self, tap: str) -> str:
        return self.taps.get(tap, self.precision)

    def realisation(
        self, steps: Steps, seed: int, precision: str = "", accumulate: bool = False
    ) -> Realisation:
        """An own run as the candidate computes; in another `precision` throughout where one is named."""
        stored = (
            {}
            if precision
            else {s.key: self.taps[o] for s in steps.steps for o in s.outputs if o in self.taps}
        )
        casts = frozenset() if precision else self._casts(steps)
        return Realisation(precision or self.precision, seed, stored, accumulate, self.fused, casts)

    def _casts(self, steps: Steps) -> frozenset[str]:
        """The steps that store in a narrower format than what they take is stored in."""
        return frozenset(
            step.key
            for step in steps.steps
            for name in step.inputs
            if UNIT[self.of(name)] < UNIT[self.of(step.outputs[0])]
        )


@dataclass
class Examined:
    """Tap -> what is measured, in the order of the forward, then of the backward pass."""

    local: dict[str, Measured] = field(default_factory=dict)
    end_to_end: dict[str, Measured] = field(default_factory=dict)


class Given:
    """The candidate's taps, link by link, and what the steps after them see instead of computing it."""

    def __init__(self, taps: Taps, steps: Steps) -> None:
        self.taps, self.steps = taps, steps
        self.names = set(taps)
        self._outputs: dict[int, list[str]] = {}
        for step in steps.steps:
            self._outputs.setdefault(step.place, []).extend(step.outputs)

    def outputs(self, place: int) -> list[str]:
        return [name for name in self._outputs[place] if name in self.names]

    def cotangents(self, place: int) -> list[str]:
        """In the order of the backward pass."""
        names = [f"{name}:dy" for name in reversed(self._outputs[place])]
        return [name for name in names if name in self.names]

    def gradients(self, place: int) -> list[str]:
        owned = [p for step in self.steps.steps if step.place == place for p in step.parameters]
        return [f"{name}:grad" for name in owned if f"{name}:grad" in self.names]

    def source(self, tap: str) -> str:
        """Where the rounding of a tap is. What is passed on unchanged in its link has that of the step
        before, its cotangent that of the step behind."""
        name, makes, uses = bare(tap), self.steps.makes, self.steps.uses
        place = makes[name].place
        if not tap.endswith(":dy"):
            while makes[name].component in PASSED_ON:
                before = [n for n in makes[name].inputs if makes[n].place == place]
                if not before:
                    break
                name = before[0]
            return name
        while [step.component in PASSED_ON and step.place == place for step in uses[name]] == [True]:
            name = uses[name][0].path
        return f"{name}:dy"

    def forward(self, place: int) -> Taps:
        return Only(self.taps, self.outputs(place))

    def both(self, place: int) -> Taps:
        return Only(self.taps, self.outputs(place) + self.cotangents(place))

    @property
    def backward(self) -> bool:
        """Whether there is a cotangent or a gradient."""
        return any(name.endswith((":dy", ":grad")) for name in self.names)


class Only(Cast):
    """Some arrays of a mapping, read when they are asked for."""

    def __init__(self, arrays: Taps, names: list[str]) -> None:
        super().__init__(arrays, lambda array: array)
        self._names = dict.fromkeys(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Spill:
    """Arrays by a key, in an open file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._places: dict[Any, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def __setitem__(self, key: Any, array: HostArray) -> None:
        start = self._file.seek(0, 2)
        self._places[key] = (start, array.shape, array.dtype)
        self._file.write(np.ascontiguousarray(array).data)

    def __getitem__(self, key: Any) -> HostArray:
        start, shape, dtype = self._places[key]
        self._file.seek(start)
        raw = self._file.read(int(np.prod(shape)) * dtype.itemsize)
        return np.frombuffer(raw, dtype).reshape(shape)


class Track:
    """One evaluation going through the links: what it carries from one to the next."""

    def __init__(self, evaluation: Evaluation, spill: Spill) -> None:
        self.evaluation, self.spill = evaluation, spill
        self.x: Any = evaluation.model.image
        self.dy: Any = None

    def forward(self, place: int, given: Taps) -> dict[str, HostArray]:
        self.spill[id(self), place] = np.asarray(self.x)
        done = self.evaluation.forward(place, self.x, given)
        self.x = done.value
        return done.taps

    def backward(self, place: int, given: Taps) -> dict[str, HostArray]:
        done: Done = self.evaluation.backward(place, self.spill[id(self), place], self.dy, given)
        self.dy = done.value
        return done.taps


def examine(
    model: Model,
    taps: Taps,
    steps: Steps,
    formats: Formats,
    *,
    runs: int = RUNS,
    advance: Advance = lambda _: None,
) -> Examined:
    """Measure every tap of the candidate. `advance` is told the share of the work that is done."""
    given, found = Given(taps, steps), Examined()
    with tempfile.TemporaryFile() as file:
        _Examination(model, given, steps, formats, runs, Spill(file), found, advance).run()
    return found


class _Examination:
    def __init__(
        self,
        model: Model,
        given: Given,
        steps: Steps,
        formats: Formats,
        runs: int,
        spill: Spill,
        found: Examined,
        advance: Advance,
    ) -> None:
        def tracks() -> list[Track]:
            kinds = [formats.realisation(steps, seed) for seed in range(runs)]
            return [Track(Evaluation(model, kind), spill) for kind in kinds]

        self.given, self.formats, self.found, self.advance = given, formats, found, advance
        self.links = len(model.links)
        self.local, self.first, self.displaced = Track(Evaluation(model), spill), tracks(), tracks()
        self.alone, self.runs = Track(Evaluation(model), spill), tracks()
        self.passes = (2 if given.backward else 1) * self.links

    def run(self) -> None:
        for place in range(self.links):
            self._link(place, "forward", self.given.outputs(place))
            self.advance((place + 1) / self.passes)
        for place in reversed(range(self.links)) if self.given.backward else ():
            self._link(place, "backward", self.given.cotangents(place) + self.given.gradients(place))
            self.advance((2 * self.links - place) / self.passes)

    def _link(self, place: int, way: str, compared: list[str]) -> None:
        given = dict(self.given.forward(place) if way == "forward" else self.given.both(place))
        reference = getattr(self.local, way)(place, given)
        own = [self._own(number, place, way, given, reference) for number in range(len(self.first))]
        for tap in compared:
            self.found.local[tap] = self._measure(tap, reference[tap], [taps[tap] for taps in own])
        del own
        reference = getattr(self.alone, way)(place, {})
        own = [getattr(track, way)(place, {}) for track in self.runs]
        for tap in compared:
            self.found.end_to_end[tap] = self._measure(tap, reference[tap], [taps[tap] for taps in own])

    def _own(self, number: int, place: int, way: str, given: Taps, reference: Taps) -> Taps:
        """An own run whose inputs are off by its own noise: libraries need not consume what they return."""
        first = getattr(self.first[number], way)(place, given)
        sources = {name: self.given.source(name) for name in given if name in reference}
        moved = {name: given[name] + (first[at] - reference[at]) for name, at in sources.items()}
        rest = {name: given[name] for name in given if name not in moved}
        return dict(getattr(self.displaced[number], way)(place, {**rest, **moved}))

    def _measure(self, tap: str, reference: HostArray, runs: list[HostArray]) -> Measured:
        candidate = np.asarray(self.given.taps[tap])
        found = measured(tap, candidate, reference, runs, self.formats.of(tap))
        c = candidate.astype(np.float64)
        found.exact = np.array_equal(c, rounded(np.asarray(reference, np.float64), found.stored))
        found.worst = worst_elements(c, reference, found.scale)
        return found


def formats(taps: Taps, steps: Steps) -> Formats:
    """Read from the bits of every tap in which format it is stored."""
    found, dtypes, linear = {}, {}, {}
    for tap in taps:
        array = taps[tap]
        dtypes[tap] = array.dtype.name
        stored = stored_in(array)
        if stored is not None:
            found[tap] = stored
            if steps.makes[bare(tap)].component in ("linear", "patch_projection"):
                linear[tap] = stored
    outputs = {tap: stored for tap, stored in linear.items() if tap in steps.shapes}
    precision = _most(outputs) or _most(linear) or _most(found) or _most(dtypes)
    if precision == "float16":
        found = {tap: _underflown(taps[tap]) if s == "bfloat16" else s for tap, s in found.items()}
    components: dict[str, dict[str, str]] = {}
    for tap, stored in found.items():
        components.setdefault(steps.makes[bare(tap)].component, {})[tap] = stored
    for tap in taps:
        component = steps.makes[bare(tap)].component
        alike = {} if component in PASSED_ON else components.get(component, {})
        found.setdefault(tap, _most(alike) or precision)
    return Formats(precision, found)


def _underflown(array: HostArray) -> str:
    """Of few digits: those of bfloat16, or what is left of float16 near its smallest number."""
    return "float16" if holds("float16", array) else "bfloat16"


def _most(found: Mapping[str, str]) -> str:
    names = list(found.values())
    return max(sorted(set(names)), key=names.count, default="")
