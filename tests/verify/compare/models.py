"""A small random model, its trace, and candidates that are made of it: honest, mistaken, and cut down."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

import vitref
from vitref.array import HostArray
from vitref.config import Config
from vitref.recording import Recording
from vitref.verify import mistakes
from vitref.verify.evaluate import Evaluation, Model
from vitref.verify.mistakes import Case
from vitref.verify.numerics import Realisation
from vitref.weights import Weights

Taps = dict[str, HostArray]
LABELS = np.array([5, 2])


def config(**changed: Any) -> Config:
    """Nothing square, odd heads, a width that is not a multiple of 16."""
    facts: dict[str, Any] = {
        "image_size": (16, 20),
        "patch_size": (4, 5),
        "channels": 3,
        "width": 24,
        "depth": 2,
        "heads": 3,
        "head_dim": 8,
        "mlp_width": 40,
        "classes": 7,
        "eps": 1e-6,
        "activation": "gelu",
        "pool": "token",
        "qkv_bias": True,
        "position_grid": (4, 4),
    }
    return Config(**{**facts, **changed})


def random_weights(facts: Config, seed: int) -> Weights:
    """No parameter is 0 or 1, in float32; matrices keep the size of what they meet."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in facts.parameter_shapes().items():
        values = rng.standard_normal(shape)
        if "norm" in name and name.endswith("weight"):
            values = 1 + 0.3 * values
        elif name.endswith("bias"):
            values = 0.2 * values
        elif len(shape) > 1:
            values = (0.5 if len(shape) == 3 else 1.3 / np.sqrt(np.prod(shape[1:]))) * values
        tensors[name] = values.astype(np.float32)
    return Weights(tensors, facts)


@cache
def weights(seed: int = 0, **changed: Any) -> Weights:
    return random_weights(config(**changed), seed)


@cache
def image(seed: int = 0, images: int = 2) -> HostArray:
    return np.random.default_rng([seed, 1]).standard_normal((images, 3, 16, 20))


@cache
def reference() -> Recording:
    return vitref.trace(weights(), image(), LABELS)


@cache
def planted(*names: str, dtype: str = "float32") -> Recording:
    """A trace with these mistakes, planted one after the other; "name=value" for one with a constant."""
    case = Case(weights(), image(), vitref.backends.get("numpy"), LABELS)
    for text in names:
        name, _, value = text.partition("=")
        case = mistakes.plant(mistakes.find(name), case, float(value) if value else None)
    return vitref.trace(case.weights, case.image, LABELS, dtype=dtype, backend=case.backend)


def model(source: Weights, pixels: HostArray, **ends: Any) -> Model:
    """`labels=` or `cotangents=` end the pass."""
    return Model({k: np.asarray(a, np.float64) for k, a in source.items()}, source.config, pixels, **ends)


def evaluated(of: Model, realisation: Realisation | None = None, given: Mapping[str, Any] = {}) -> Taps:
    """Every tap of a model, link by link."""
    return through(of, [Evaluation(of, realisation)] * len(of.links), given)


def through(of: Model, evaluations: list[Evaluation], given: Mapping[str, Any] = {}) -> Taps:
    """Forwards and back, each link by its own evaluation."""
    entering, taps = [], {}
    x: Any = of.image
    for place, evaluation in enumerate(evaluations):
        entering.append(x)
        done = evaluation.forward(place, x, given)
        x = done.value
        taps.update(done.taps)
    dy = None
    for place in reversed(range(len(evaluations))) if of.differentiates else ():
        done = evaluations[place].backward(place, entering[place], dy, given)
        dy = done.value
        taps.update(done.taps)
    return taps


def wrong_in_one_link(name: str, place: int) -> Taps:
    """In float32, with a mistake of code in one link alone, as a part of a model may have it."""
    right = model(weights(), image(), labels=LABELS)
    wrong = right.changed(edits=mistakes.find(name).edits_with())
    rounding = Realisation("float32", 7)
    evaluations = [Evaluation(wrong if at == place else right, rounding) for at in range(len(right.links))]
    return through(right, evaluations)


def rounded_run(precision: str, seed: int, stored: Mapping[str, str]) -> Taps:
    """The right model with these steps stored in other formats, as float32 arrays."""
    return evaluated(model(weights(), image(), labels=LABELS), Realisation(precision, seed, stored))


@cache
def emulated(precision: str, seed: int, name: str = "") -> Taps:
    """The model in some precision, stored as it would be, right or with a mistake of code."""
    right = model(weights(), image(), labels=LABELS)
    computed = right.changed(edits=mistakes.find(name).edits_with()) if name else right
    dtypes = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float64": np.float64}
    taps = evaluated(computed, Realisation(precision, seed))
    return {tap: np.asarray(array).astype(dtypes.get(precision, np.float32)) for tap, array in taps.items()}


def short(taps: Mapping[str, HostArray]) -> Taps:
    """As bfloat16 arrays."""
    return {tap: np.asarray(array).astype(ml_dtypes.bfloat16) for tap, array in taps.items()}


def blocks(taps: Mapping[str, HostArray]) -> Taps:
    """Block outputs and logits."""
    return {tap: taps[tap] for tap in ("embed", "blocks.0", "blocks.1", "logits")}


def logits(taps: Mapping[str, HostArray]) -> Taps:
    return {"logits": taps["logits"]}


def gradients(taps: Mapping[str, HostArray]) -> Taps:
    """Gradients of parameters, and the logits."""
    return {tap: array for tap, array in taps.items() if tap.endswith(":grad")} | logits(taps)


def forward_only(taps: Mapping[str, HostArray]) -> Taps:
    return {tap: a for tap, a in taps.items() if not tap.endswith((":dy", ":grad")) and tap != "loss"}


def without(taps: Mapping[str, HostArray], names: Iterable[str]) -> Taps:
    left = set(names)
    return {tap: array for tap, array in taps.items() if tap not in left}
