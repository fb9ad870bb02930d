"""What the tests of the graph measure, each as one number or a list, on any model and with any kernels.

`problems` puts the checks together: the tests of the graph expect none, and the tests of these tests
(test_mutations.py) expect some for every planted mistake.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tests.graph.models import Model
from vitref.array import HostArray
from vitref.call import final_output, model_arguments
from vitref.graph import supervised, vit
from vitref.run import Run, Trace
from vitref.testing import adjoint_error, random_like, tolerance
from vitref.verify import oracle

Arrays = Mapping[str, Any]

AMPLIFICATION = 32
"""A LayerNorm divides the rounding of earlier layers by the deviation of its row, which may be small."""


NOTHING = np.zeros((0, 0))
"""In the place of an output that is missing: no output has this shape."""


def take(model: Model, arrays: Arrays | None = None, **options: Any) -> tuple[Run, Trace]:
    """One forward pass of `model`, or of other arrays in its place; `options` are those of Run."""
    arrays = model.arrays if arrays is None else arrays
    if model.train:
        options.setdefault("masks", model.train.mask)
    run = Run(arrays, **options)
    t, arguments = Trace(run), {**model_arguments(model.config), "train": model.train}
    if model.labels is None:
        t.step("", vit, arrays["image"], **arguments)
    else:
        t.step("", supervised, arrays["image"], labels=model.labels, loss=model.loss, **arguments)
    return run, t


def final(model: Model) -> str:
    """The name of what the pass returns."""
    return final_output(model.config) if model.labels is None else "loss"


def outputs(model: Model, names: Iterable[str], arrays: Arrays | None = None, **options: Any) -> Arrays:
    """Named outputs of the forward pass."""
    run, _ = take(model, arrays, keep=False, record=frozenset(names), **options)
    return {name: run.taps[name] for name in names}


def gradients(model: Model, dy: HostArray | None, **options: Any) -> Arrays:
    """The gradient of every array of `model`; raises when a step is left over."""
    run, t = take(model, **options)
    dimage = t.undo("", dy)
    run.finish()
    return run.gradients | {"image": run.zeros("image") if dimage is None else dimage}


def random_cotangents(model: Model, names: Iterable[str], seed: int) -> dict[str, HostArray]:
    rng = np.random.default_rng(seed)
    cotangents: dict[str, HostArray] = random_like(dict(outputs(model, names)), rng)
    return cotangents


def oracle_errors(model: Model, **options: Any) -> dict[str, float]:
    """The relative difference (L2) between the graph and the oracle, for each output it names."""
    expected = oracle.forward(model.config, model.arrays, model.arrays["image"], model.train)
    if model.labels is not None:
        expected["loss"] = oracle.loss(expected["logits"], model.labels, model.loss)
    run, _ = take(model, keep=False, record=frozenset(expected), **options)
    return {name: distance(run.taps.get(name, NOTHING), expected[name]) for name in expected}


def distance(a: HostArray, b: HostArray) -> float:
    """|a - b| / |b|; infinite where the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(np.float64).tiny))


def gradient_error(model: Model, names: Iterable[str], seed: int, **options: Any) -> float:
    """Of the gradients of <dy, outputs>, along one random direction of all arrays together."""
    dy = random_cotangents(model, names, seed)
    found = gradients(model, None, cotangents=dy, **options)
    direction = random_like(dict(model.arrays), np.random.default_rng([seed, 1]))
    return adjoint_error(
        lambda arrays: outputs(model, dy, arrays, **options), dict(model.arrays), direction, dy, found
    )


def gradient_errors(model: Model, seed: int, **options: Any) -> dict[str, float]:
    """Of each gradient of <dy, final output>, along a random direction of its array."""
    dy = random_cotangents(model, [final(model)], seed)
    found = gradients(model, dy[final(model)], **options)
    rng, errors = np.random.default_rng([seed, 1]), {}
    for name in found:
        array = model.arrays[name]

        def moved(moving: HostArray, name: str = name) -> Arrays:
            return outputs(model, dy, {**model.arrays, name: moving}, **options)

        errors[name] = adjoint_error(moved, array, random_like(array, rng), dy, found[name])
    return errors


def rounding(model: Model, dtype: str = "float64") -> float:
    """What rounding can explain in a pass: as if all arrays entered one sum, times AMPLIFICATION."""
    return AMPLIFICATION * tolerance(dtype, sum(array.size for array in model.arrays.values()))


def above(errors: Mapping[str, float], bound: float) -> dict[str, float]:
    """The errors that are not below `bound`; NaN is not."""
    return {name: error for name, error in errors.items() if not error < bound}


def problems(model: Model, **options: Any) -> set[str]:
    """What is wrong with this graph.

    "forward" where the oracle disagrees, "gradient" where complex step does, "keys" for gradients that
    are missing or too many, "order" for steps out of order or left over, "refused" for shapes or
    parameters that do not fit together.
    """
    dy = random_cotangents(model, [final(model)], seed=0)[final(model)]
    try:
        found = set(gradients(model, dy, **options))
    except RuntimeError:
        return {"order"}
    except (KeyError, ValueError):
        return {"refused"}
    checks = {
        "forward": not above(oracle_errors(model, **options), rounding(model)),
        "gradient": not above(gradient_errors(model, seed=1, **options), rounding(model)),
        "keys": found == {*model.config.parameter_shapes(), "image"},
    }
    return {name for name, passed in checks.items() if not passed}
