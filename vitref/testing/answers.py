"""What is asked of a backend, and the right answers: a small model, its inputs, the reference's numbers.

The answers are those of the NumPy reference in float64; how far rounding may move them is measured
(`vitref.testing.rounding`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import vitref
from vitref.array import HostArray
from vitref.call import final_output, model_arguments
from vitref.graph import supervised, vit
from vitref.run import Part, Run, Trace, title
from vitref.testing.rounding import moved, rounding_kernels
from vitref.testing.small_models import Model, model
from vitref.weights import Weights

PROBES = 4
"""Random roundings, the largest effect of which counts."""

NAMED = ("blocks.0", "tokens", "pooled")
"""Outputs, besides the last, that a cotangent is given for."""


@dataclass(frozen=True)
class Posed:
    """One call: float64 numbers that `dtype` can hold, and the arguments of `vitref.backward`."""

    weights: Weights
    image: HostArray
    dtype: str
    arguments: Mapping[str, Any]

    @property
    def train(self) -> Any:
        return self.arguments["train"]

    def differentiated(self) -> Iterator["Posed"]:
        """This call; with labels also by integers, and without by several named outputs."""
        yield self
        if "labels" in self.arguments:
            integers = np.argmax(self.arguments["labels"], axis=1)
            yield replace(self, arguments={**self.arguments, "labels": integers})
        else:
            named = {name: _random(self, self._shape(name), name) for name in NAMED}
            yield replace(self, arguments={**self.arguments, "cotangent": named})

    def of_images(self, count: int) -> "Posed":
        """The same model with another number of images."""
        shape = (count, *self.image.shape[1:])
        image = _random(self, shape, "images")
        rows = np.arange(count) % len(self.image)
        changed = {name: self.arguments[name][rows] for name in ("labels", "cotangent") if self._given(name)}
        return replace(self, image=image, arguments={**self.arguments, **changed})

    def other_image(self) -> HostArray:
        return _random(self, self.image.shape, "other image")

    def other_weights(self) -> Weights:
        """Another model of the same shapes."""
        other = model(self.weights.config, batch=1, seed=len(self.image)).arrays
        return self.weights.replace({name: _rounded(other[name], self.dtype) for name in self.weights})

    def _given(self, name: str) -> bool:
        return name in self.arguments

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(answers(self).values[name].shape)


@dataclass(frozen=True)
class Answers:
    """values  tap (outputs, `PATH:dy`, `NAME:grad`) -> array, float64
    sizes   tap -> the largest element of the value, and of its change where every step rounds
    terms   the longest sum of the pass
    final   the name of the final output
    """

    values: Mapping[str, HostArray]
    sizes: Mapping[str, float]
    terms: int
    final: str


def posed(model: Model, dtype: str) -> Posed:
    """The call for a drawn model: its labels, or a random cotangent of its final output."""
    arrays = {name: _rounded(array, dtype) for name, array in model.arrays.items()}
    image = arrays.pop("image")
    weights = Weights(arrays, model.config)
    p = Posed(weights, image, dtype, {"train": model.train})
    if model.labels is not None:
        return replace(p, arguments={"train": model.train, "labels": model.labels, "loss": model.loss})
    shape = (len(image), model.config.classes or weights.config.pre_logits or weights.config.width)
    return replace(p, arguments={"train": model.train, "cotangent": _random(p, shape, "cotangent")})


def answers(p: Posed) -> Answers:
    """From the NumPy reference."""
    known = dict(vitref.trace(p.weights, p.image, **p.arguments, backend="numpy", dtype="float64"))
    sizes = {name: _largest(array) for name, array in known.items()}
    for probe in range(PROBES):
        for name, array in _rounded_pass(p, np.random.default_rng(probe)).items():
            sizes[name] = max(sizes[name], _largest(moved(array)))
    longest = max(array.size for array in (p.image, *known.values()))
    return Answers(known, sizes, longest, final_output(p.weights.config))


def components(p: Posed) -> dict[str, str]:
    """Path of every step of this call -> the name of its component."""
    run, _ = _step(p)
    return {record.path: title(record.part) for record in run.stack}


def _rounded_pass(p: Posed, rng: np.random.Generator) -> dict[str, HostArray]:
    """The taps of a pass in which every step rounds, complex."""
    run, t = _step(p, kernels=rounding_kernels(rng))
    dy = np.ones(()) if "labels" in p.arguments else None
    if t.undo("", dy) is None:
        raise AssertionError("no cotangent reaches the image")
    return run.taps | {f"{name}:grad": array for name, array in run.gradients.items()}


def _step(p: Posed, **options: Any) -> tuple[Run, Trace]:
    """A forward pass of the reference, everything recorded."""
    config, train = p.weights.config, p.train
    part: Part = vit
    static = {**model_arguments(config), "train": train}
    if "labels" in p.arguments:
        static |= {name: p.arguments[name] for name in ("labels", "loss")}
        part = supervised
    given = p.arguments.get("cotangent", {})
    cotangents = given if isinstance(given, Mapping) else {final_output(config): given}
    run = Run(p.weights, record=None, cotangents=cotangents, masks=train and train.mask, **options)
    t = Trace(run)
    t.step("", part, p.image, **static)
    return run, t


def _random(p: Posed, shape: tuple[int, ...], purpose: str) -> HostArray:
    rng = np.random.default_rng([p.image.size, *purpose.encode()])
    return _rounded(rng.standard_normal(shape), p.dtype)


def _rounded(array: HostArray, dtype: str) -> HostArray:
    return array.astype(dtype).astype(np.float64)


def _largest(array: HostArray) -> float:
    return float(np.max(np.abs(array), initial=0.0))
