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
from vitref.verify.numerics import Realisation

Arrays = Mapping[str, HostArray]


@dataclass(frozen=True, eq=False)
class Model:
    """What is evaluated, in float64.

    parameters  canonical name -> array
    image       (N, C, H, W), preprocessed
    labels      of the loss; None when `cotangents` end the pass, or nothing does
    cotangents  output -> its cotangent
    edits       component -> its changed lines: the mistakes in it (see `vitref.verify.mistakes`)
    where       link -> the edits and parameters of that link alone, over those of the model
    """

    parameters: Arrays
    config: Config
    image: HostArray
    labels: HostArray | None = None
    loss: str = "cross_entropy"
    cotangents: Arrays = field(default_factory=dict)
    edits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def differentiates(self) -> bool:
        return self.labels is not None or bool(self.cotangents)

    @cached_property
    def links(self) -> list[Link]:
        links = chain(self.config, None)
        if self.labels is not None:
            links.append(Link("loss", supervised.LOSSES[self.loss], {"labels": self.labels}))
        return links

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
        if self.realisation:
            kernels = self.realisation.kernels(place, model.edits)
        else:
            kernels = {name: edit.kernel(name, lines) for name, lines in model.edits.items()}
        run = Run(
            self._parameters(),
            kernels=kernels,
            keep=keep,
            record=None,
            inject=Cast(given, self._as),
            cotangents=self._cotangents() if keep else {},
            workspace=self.realisation,
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
