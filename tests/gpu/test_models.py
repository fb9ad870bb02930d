"""Whole models of real size in every precision: how far they are from the reference in float64."""

import functools

import numpy as np
import pytest

import vitref
from tests.gpu.conftest import Note
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.testing import tolerance

pytestmark = pytest.mark.gpu

MODES = {
    "float64": ("float64", "strict"),
    "strict": ("float32", "strict"),
    "fp32x3": ("float32", "fp32x3"),
    "tf32": ("float32", "tf32"),
    "bfloat16": ("bfloat16", "strict"),
    "float16": ("float16", "strict"),
}
"""Name in the tables -> dtype and precision."""

ROUNDING = {"strict": "float32", "fp32x3": "float32", "tf32": "float16"}
"""A precision of float32 -> a dtype that keeps as many digits."""

MODELS = ("ViT-Ti/16", "ViT-B/16")
LABELS = [3, 1]


@functools.lru_cache(maxsize=1)
def weights(model: str, depth: int) -> vitref.Weights:
    options = {"depth": depth, "image_size": 32} if depth else {}
    config = vitref.Config.variant(model, convention="timm", classes=1000, **options)
    drawn = vitref.init(config, seed=0, dtype="float32")
    rng = np.random.default_rng(0)
    return drawn.replace({name: spread(name, array, rng) for name, array in drawn.items()})


def spread(name: str, array: HostArray, rng: np.random.Generator) -> HostArray:
    """Noise on top: a fresh model's biases are zero and its norms one, which would hide mistakes."""
    return (array + 0.02 * rng.standard_normal(array.shape)).astype("float32")


def image(config: vitref.Config) -> HostArray:
    shape = (len(LABELS), config.channels, *config.image_size)
    return np.random.default_rng(1).standard_normal(shape).astype("float32")


@functools.lru_cache(maxsize=1)
def exact(model: str, depth: int) -> vitref.Gradients:
    chosen = weights(model, depth)
    return vitref.backward(chosen, image(chosen.config), LABELS, dtype="float64", backend="numpy")


def distance(found: HostArray, known: HostArray) -> float:
    return float(np.linalg.norm(found.astype("float64") - known) / np.linalg.norm(known))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_error(backend: Backend, note: Note, quick: bool, model: str, mode: str) -> None:
    (dtype, precision), depth = MODES[mode], 2 if quick else 0
    chosen, known = weights(model, depth), exact(model, depth)
    found = vitref.backward(
        chosen, image(chosen.config), LABELS, dtype=dtype, precision=precision, backend=backend
    )
    assert found.logits is not None
    assert known.logits is not None
    gradients = {name: distance(found.weights[name], known.weights[name]) for name in known.weights}
    worst = max(gradients, key=lambda name: gradients[name])
    of_logits = distance(found.logits, known.logits)
    errors = {
        "logits": of_logits,
        "image gradient": distance(found.image, known.image),
        "median gradient": float(np.median(list(gradients.values()))),
        "worst gradient": gradients[worst],
        "where": worst,
    }
    note(f"{model} {mode}", errors)
    assert of_logits <= tolerance(ROUNDING.get(precision, dtype) if dtype == "float32" else dtype, 768)
    assert np.isfinite(list(gradients.values())).all()


@pytest.mark.parametrize("mode", MODES)
def test_an_image_does_not_depend_on_its_neighbours(backend: Backend, quick: bool, mode: str) -> None:
    (dtype, precision), chosen = MODES[mode], weights(MODELS[0], 2 if quick else 0)
    first, second = image(chosen.config), image(chosen.config)
    second[1] = 100
    found = [
        vitref.forward(chosen, x, dtype=dtype, precision=precision, backend=backend)[0]
        for x in (first, second)
    ]
    assert found[0].tobytes() == found[1].tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_the_same_call_gives_the_same_bits(backend: Backend, quick: bool, mode: str) -> None:
    (dtype, precision), chosen = MODES[mode], weights(MODELS[0], 2 if quick else 0)
    found = [
        vitref.backward(
            chosen, image(chosen.config), LABELS, dtype=dtype, precision=precision, backend=backend
        )
        for _ in range(2 if quick else 20)
    ]
    for other in found[1:]:
        assert other.image.tobytes() == found[0].image.tobytes()
        assert all(other.weights[n].tobytes() == found[0].weights[n].tobytes() for n in other.weights)
