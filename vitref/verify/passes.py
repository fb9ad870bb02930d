"""One pass of a case in float64, with everything recorded; and what two passes differ by."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vitref import images
from vitref.array import HostArray
from vitref.call import final_output
from vitref.graph import supervised, vit
from vitref.run import Run, Trace
from vitref.testing import random_like
from vitref.verify.mistakes import Case

Arrays = Mapping[str, HostArray]


def arrays(case: Case) -> dict[str, HostArray]:
    """The parameters and "image", preprocessed."""
    config, recipe = case.weights.config, case.weights.preprocessing
    image, _ = images.to_batch(case.image, config.channels, recipe)
    return {**case.weights, "image": image}


def final(case: Case) -> str:
    """The name of what the pass returns."""
    return final_output(case.weights.config) if case.labels is None else "loss"


def forward(case: Case, given: Arrays, **options: Any) -> tuple[Run, Trace]:
    """A forward pass with these parameters and image, which may be complex."""
    masks = case.train.mask if case.train else None
    run = Run(given, xp=case.backend.xp, kernels=case.backend.kernels, masks=masks, **options)
    t = Trace(run)
    model: dict[str, Any] = {"config": case.weights.config, "train": case.train}
    if case.labels is None:
        t.step("", vit, given["image"], **model)
    else:
        t.step("", supervised, given["image"], labels=case.labels, loss=case.loss, **model)
    return run, t


def cotangent(shape: tuple[int, ...]) -> HostArray:
    """A random cotangent; 1 for a loss."""
    return np.ones(()) if shape == () else np.random.default_rng(11).standard_normal(shape)


def recorded(case: Case) -> dict[str, HostArray]:
    """Every tap: outputs in the order of the forward pass, `:dy` in that of the backward pass, `:grad`.

    Raises RuntimeError when a step is left over or out of order, KeyError or ValueError when shapes
    or names do not fit.
    """
    given = arrays(case)
    run, t = forward(case, given, record=None)
    t.undo("", cotangent(run.outputs[final(case)].shape))
    run.finish()
    return {**run.taps, **{f"{name}:grad": run.gradients[name] for name in run.gradients}}


def differences(mistaken: Arrays, right: Arrays) -> dict[str, float]:
    """Tap -> |mistaken - right| relative to |right| (L2), for every tap of either; infinite where one of
    the two is missing or of another shape.

    A gradient is measured by the largest of all gradients where that is far larger: one that is zero in
    exact arithmetic, like that of a key's bias, is nothing but rounding.
    """
    norms = {name: float(np.linalg.norm(array)) for name, array in right.items()}
    largest = max((norms[name] for name in norms if name.endswith(":grad")), default=0.0)
    names = [*right, *(name for name in mistaken if name not in right)]
    return {name: _difference(mistaken.get(name), right.get(name), 1e-6 * largest) for name in names}


def _difference(a: HostArray | None, b: HostArray | None, least: float) -> float:
    if a is None or b is None or a.shape != b.shape:
        return float("inf")
    moved = float(np.linalg.norm(a - b))
    return moved / max(float(np.linalg.norm(b)), least) if moved else 0.0


class Direction(NamedTuple):
    """A point and a direction in all its arrays."""

    point: dict[str, HostArray]
    along: dict[str, HostArray]


def direction(case: Case) -> Direction:
    point = {name: np.asarray(array, np.float64) for name, array in arrays(case).items()}
    return Direction(point, random_like(point, np.random.default_rng(13)))
