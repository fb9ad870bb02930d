"""One evaluator for every comparison: a model, link by link, with the outputs that somebody else computed.

A value is the candidate's where it is given, and else is computed from the values before it; cotangents
likewise. With all taps given that is a check of each step by itself, with block outputs one of each block,
with nothing but the final output one from end to end: the same code, and only what is given differs. Nothing
of a link is kept when it is done but what the next one needs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.graph import supervised
from vitref.graph.vit import Link, chain
from vitref.run import Run, Trace
from vitref.verify.mistakes import edit
from vitref.verify.numerics import Paths, Realisation, Somewhere, primitives

Arrays = Mapping[str, HostArray]


class Local(NamedTuple):
    """A change of primitives at one step, or at all steps of a link.

    start   what their paths begin with
    edits   component -> changed lines; static: component -> other static arguments
    """

    start: str
    edits: Mapping[str, tuple[str, ...]]
    static: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Model:
    """What is evaluated, in float64.

    parameters  canonical name -> array
    image       (N, C, H, W), preprocessed
    labels      of the loss; None when `cotangents` end the pass, or nothing does
    cotangents  output -> its cotangent
    edits       component -> its changed lines: the mistakes in it (see `vitref.verify.mistakes`)
    local       mistakes in one place alone, over those of the whole model
    """

    parameters: Arrays
    config: Config
    image: HostArray
    labels: HostArray | None = None
    loss: str = "cross_entropy"
    cotangents: Arrays = field(default_factory=dict)
    edits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    local: tuple[Local, ...] = ()

    @property
    def differentiates(self) -> bool:
        return self.labels is not None or bool(self.cotangents)

    @cached_property
    def links(self) -> list[Link]:
        links = chain(self.config, None)
        if self.labels is not None:
            links.append(Link("loss", supervised.LOSSES[self.loss], {"labels": self.labels}))
        return links

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Component -> what stands in its place: kernels of composites, parts of primitives."""
        parts = {
            n: edit.edited(n, e) if n in primitives() else edit.kernel(n, e) for n, e in self.edits.items()
        }
        for start, edits, static in self.local:
            for name in {*edits, *static}:
                before = parts.get(name, primitives()[name])
                base, changes = (
                    (before.part, before.changes) if isinstance(before, Somewhere) else (before, ())
                )
                lines = (*self.edits.get(name, ()), *edits.get(name, ()))
                there = edit.edited(name, lines) if lines else primitives()[name]
                parts[name] = Somewhere(base, ((start, there, static.get(name, {})), *changes))
        return parts

    @cached_property
    def kernels(self) -> dict[str, Any]:
        """The same as kernels of exact arithmetic."""
        exact = {name: edit.kernel(name, lines) for name, lines in self.edits.items()}
        return exact | {n: part.kernel() for n, part in self.parts.items() if isinstance(part, Somewhere)}

    def changed(self, **fields: Any) -> "Model":
        return replace(self, **fields)


class Done(NamedTuple):
    """What came out of a link: its output (or the cotangent of its input), and every tap inside it."""

    value: HostArray | None
    taps: dict[str, HostArray]


class Evaluation:
    """A model under one way of rounding; `realisation` None is `dtype` as NumPy computes it."""

    def __init__(
        self, model: Model, realisation: Realisation | None = None, dtype: type = np.float64
    ) -> None:
        self.model, self.realisation = model, realisation
        self.dtype = realisation.dtype if realisation else dtype

    def forward(self, place: int, x: HostArray, given: Arrays) -> Done:
        """The link at `place` from x. `given`: output -> the array that stands in its place afterwards."""
        run, t = self._run(place, given, keep=False)
        link = self.model.links[place]
        return Done(t.step(link.name, link.part, self._as(x), **self._static(link)), run.taps)

    def backward(self, place: int, x: HostArray, dy: HostArray | None, given: Arrays) -> Done:
        """The link at `place` forwards and back. Its taps are cotangents and gradients alone.

        `given`: outputs, and cotangents as `PATH:dy`.
        """
        run, t = self._run(place, given, keep=True)
        link = self.model.links[place]
        y = t.step(link.name, link.part, self._as(x), **self._static(link))
        if place == len(self.model.links) - 1 and self.model.labels is not None:
            dy = np.ones((), y.dtype)
        dx = t.undo(link.name, None if dy is None else self._as(dy))
        taps = {name: array for name, array in run.taps.items() if name.endswith(":dy")}
        return Done(dx, taps | {f"{name}:grad": array for name, array in run.gradients.items()})

    def _run(self, place: int, given: Arrays, keep: bool) -> tuple[Run, Trace]:
        model = self.model
        kernels = self.realisation.kernels(place, model.parts) if self.realisation else model.kernels
        run = Run(
            self._parameters(),
            kernels=kernels,
            keep=keep,
            record=None,
            inject=Cast(given, self._as),
            cotangents=self._cotangents() if keep else {},
            workspace=self.realisation or Paths(),
            constants=self._constant,
        )
        return run, Trace(run)

    def _parameters(self) -> Arrays:
        if self.dtype is np.float64:
            return self.model.parameters
        return Cast(self.model.parameters, self._as)

    def _cotangents(self) -> Arrays:
        return {name: self._as(array) for name, array in self.model.cotangents.items()}

    def _constant(self, build: Callable[..., HostArray], *arguments: Any) -> HostArray:
        return self._as(build(*arguments))

    def _static(self, link: Link) -> dict[str, Any]:
        labels = link.static.get("labels")
        if labels is None or labels.dtype.kind != "f":
            return link.static
        return {**link.static, "labels": self._as(labels)}

    def _as(self, array: HostArray) -> HostArray:
        return np.asarray(array).astype(self.dtype, copy=False)


class Cast(Mapping[str, HostArray]):
    """A mapping whose arrays are converted when they are asked for."""

    def __init__(self, arrays: Arrays, convert: Callable[[HostArray], HostArray]) -> None:
        self._arrays, self._convert = arrays, convert

    def __getitem__(self, name: str) -> HostArray:
        return self._convert(self._arrays[name])

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
