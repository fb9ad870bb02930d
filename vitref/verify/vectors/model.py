"""The vectors of small whole models: every activation and every gradient, and what a model must refuse.

The models are those of `vitref.verify.probes`, with numbers that float32 holds exactly, and the one that
`vitref trace --variant tiny-test` draws.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vitref import backends, drawn
from vitref.array import HostArray
from vitref.errors import Error
from vitref.run import Run, Trace
from vitref.testing.rounding import moved, rounding_kernels
from vitref.verify import passes, probes
from vitref.verify.mistakes import CATALOGUE, Case, Mistake, plant
from vitref.verify.vectors import values
from vitref.verify.vectors.tolerances import coarsest, difference, tolerances
from vitref.verify.vectors.vector import Group, Vector

Arrays = dict[str, HostArray]

PRECISIONS = ("float64", "float32")
"""In 16 bits a bound on a whole model would be too large to mean much; `vitref compare` measures it."""

PROBES = 4
"""Random roundings, the largest effect of which counts."""

SOURCE = "Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1 to 4; timm/models/vision_transformer.py"


def cases() -> dict[str, Case]:
    """Name -> the model, what it is shown, and its labels."""
    tiny = drawn.draw("tiny-test", 0)
    known = {"tiny-test": Case(tiny.weights, tiny.image, backends.get("numpy"), tiny.labels)}
    shown = {name: case for name, case in probes.cases().items() if case.image.dtype.kind == "f"}
    return known | {name: _redrawn(name, case) for name, case in shown.items()}


def group(name: str, case: Case) -> Group:
    """The model's only right case."""
    masks, outputs, gradients = recorded(case, name)
    expected = {**outputs, **gradients}
    arrays = (case.image, *expected.values())
    allowed = tolerances(_moving(case, name, expected), PRECISIONS, max(a.size for a in arrays))
    with np.errstate(all="ignore"):
        flags = dict(_flags(case, name, expected, allowed))
    vector = Vector(
        "valid",
        what_differs(case),
        {**settings(case), "output": passes.final(case)},
        {**inputs(case), **masks, **_cotangents(case, name, outputs)},
        outputs,
        gradients,
        allowed,
        flags,
    )
    about = {"what": f"A small whole model: {what_differs(case)}.", "source": SOURCE}
    return Group("model", name, about, (vector,))


def recorded(case: Case, name: str) -> tuple[Arrays, Arrays, Arrays]:
    """One pass: the masks of dropout by step (`mask.PATH`), the outputs by tap, and what the backward pass
    makes: cotangents (`PATH:dy`) and gradients of parameters (`NAME:grad`).
    """
    run, t = passes.forward(case, passes.arrays(case), record=None)
    masks = {f"mask.{s.path}": s.static["mask"] for s in run.stack if "mask" in s.static}
    outputs = dict(run.taps)
    return masks, outputs, _undone(run, t, case, name)


def _undone(run: Run, t: Trace, case: Case, name: str) -> Arrays:
    """What the backward pass makes.

    Raises KeyError, ValueError or RuntimeError when the mistaken pieces of a model do not fit.
    """
    final = passes.final(case)
    t.undo("", _cotangent(name, final, run.outputs[final].shape))
    run.finish()
    backward = {key: array for key, array in run.taps.items() if key.endswith(":dy")}
    return {**backward, **{f"{key}:grad": array for key, array in run.gradients.items()}}


def inputs(case: Case) -> Arrays:
    """Parameters, image and labels."""
    weights = {f"weight.{key}": array for key, array in case.weights.items()}
    labels = {} if case.labels is None else {"labels": case.labels}
    return {"image": case.image, **labels, **weights}


def settings(case: Case) -> dict[str, Any]:
    """The Config, the loss where there are labels, and the rates of a training pass."""
    config = case.weights.config.to_dict()
    loss = {} if case.labels is None else {"loss": case.loss}
    rates = ("dropout", "attention_dropout", "drop_path")
    train = {"train": {rate: getattr(case.train, rate) for rate in rates}} if case.train else {}
    return {"config": config, **loss, **train}


def what_differs(case: Case) -> str:
    """What this model has that is not in every one, in a few words."""
    config = case.weights.config
    words = [
        f"pool {config.pool}",
        f"{config.activation}",
        f"eps {config.eps:g}",
        "" if config.class_token else "no class token",
        "" if config.class_position or not config.class_token else "class token without position",
        "" if config.qkv_bias else "no qkv bias",
        "LayerScale" if config.layer_scale else "",
        "the last LayerNorm after pooling" if config.final_norm == "pooled" else "",
        "pre-logits" if config.pre_logits else "",
        f"positions resized ({config.position_resize})" if config.grid != config.position_grid else "",
        "" if config.classes else "no head",
        f"{config.depth} blocks",
        f"{case.loss} loss" if case.labels is not None else "",
        "a training pass" if case.train else "",
    ]
    return ", ".join(word for word in words if word)


def _redrawn(name: str, case: Case) -> Case:
    """The case with numbers that do not depend on the version of NumPy, and that float32 holds."""
    seed, config = values.seed_of(name), case.weights.config
    image = 2 * drawn.uniform(seed, "image", case.image.shape)
    labels = case.labels
    if labels is not None and case.loss == "sigmoid":
        labels = values.shares(f"{name}, labels", labels.shape)
    elif labels is not None:
        images, classes = labels.shape
        labels = values.probabilities(f"{name}, labels", images, classes, 4096)
    weights = drawn.draw_weights(config, seed, f"vectors, {name}")
    return case._replace(weights=weights, image=image, labels=labels)


def _cotangent(name: str, final: str, shape: tuple[int, ...]) -> HostArray:
    return np.ones(()) if shape == () else drawn.uniform(values.seed_of(name), f"{final}:dy", shape)


def _cotangents(case: Case, name: str, outputs: Arrays) -> Arrays:
    """The given cotangent; a loss has none, its own is 1."""
    final = passes.final(case)
    return {} if final == "loss" else {f"cotangent.{final}": _cotangent(name, final, outputs[final].shape)}


def _moving(case: Case, name: str, expected: Arrays) -> dict[str, float]:
    """Tap -> its largest element, or how far it moves when every step rounds."""
    largest = {tap: float(np.max(np.abs(array), initial=0.0)) for tap, array in expected.items()}
    for probe in range(PROBES):
        kernels = rounding_kernels(np.random.default_rng(probe))
        rounded = case._replace(backend=dataclasses.replace(case.backend, kernels=kernels))
        _, outputs, gradients = recorded(rounded, name)
        for tap, array in {**outputs, **gradients}.items():
            largest[tap] = max(largest[tap], float(np.max(np.abs(moved(array)), initial=0.0)))
    return largest


def _flags(
    case: Case, name: str, expected: Arrays, allowed: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, str]]:
    """Mistakes that change a tap by more than is allowed, and the coarsest precision in which they do."""
    for mistake in CATALOGUE.values():
        if seen := coarsest(_errors(mistake, case, name, expected), allowed):
            yield mistake.name, seen


def _errors(mistake: Mistake, case: Case, name: str, expected: Arrays) -> Iterator[tuple[str, float]]:
    """How far each tap is off, the forward pass first; no more of them once pieces do not fit together."""
    try:
        wrong = plant(mistake, case)
        if wrong is case:
            return
        run, t = passes.forward(wrong, passes.arrays(wrong), record=None)
        found = dict(run.taps)
        yield from ((tap, difference(found[tap], expected[tap])) for tap in expected if tap in found)
        found = _undone(run, t, wrong, name)
        yield from ((tap, difference(found[tap], expected[tap])) for tap in expected if tap in found)
    except (Error, KeyError, ValueError, RuntimeError):
        return
