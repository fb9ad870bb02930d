"""The evaluator: with nothing given it is a trace, bit for bit; with all given, each step by itself."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import vitref
from tests.verify.compare import models
from tests.verify.compare.test_steps import case, traced
from vitref import images
from vitref.verify import mistakes, probes
from vitref.verify.evaluate import Cast, Evaluation, Model
from vitref.verify.mistakes import Case
from vitref.verify.numerics import Realisation
from vitref.verify.steps import table


def as_model(name: str) -> Model:
    """What made a probe's trace."""
    right, trace = case(name), traced(name)
    pixels, _ = images.to_batch(right.image, 3, right.weights.preprocessing)
    inputs = trace.inputs
    ends: dict[str, Any] = {"loss": right.loss}
    if "labels" in inputs:
        ends["labels"] = np.asarray(inputs["labels"])
    ends["cotangents"] = {k.removeprefix("cotangent."): a for k, a in inputs.items() if k.startswith("cot")}
    return models.model(right.weights, np.asarray(pixels, np.float64), **ends)


@pytest.mark.parametrize("name", probes.MODELS)
def test_with_nothing_given_it_is_the_trace(name: str) -> None:
    taps, trace = models.evaluated(as_model(name)), traced(name)
    assert taps.keys() >= trace.keys()
    for tap in trace:
        assert np.array_equal(taps[tap], trace[tap]), tap


@pytest.mark.parametrize(
    "places", [("logits",), ("blocks.0",), ("tokens", "blocks.0.mlp", "logits"), ("blocks.1",), ("embed",)]
)
def test_cotangents_anywhere(places: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    shapes = table(models.config(), 2).shapes
    given = {name: rng.standard_normal(shapes[name]) for name in places}
    trace = vitref.trace(models.weights(), models.image(), cotangent=given)
    taps = models.evaluated(models.model(models.weights(), models.image(), cotangents=given))
    for tap in trace:
        assert np.array_equal(taps[tap], trace[tap]), tap


@pytest.mark.parametrize("name", ["softmax_over_queries", "post_norm", "gelu_slope_missing", "eps_1e-3"])
def test_a_mistake_in_the_model_is_the_mistake_on_a_backend(name: str) -> None:
    mistake = mistakes.find(name)
    right = Case(models.weights(), models.image(), vitref.backends.get("numpy"))
    planted = mistakes.plant(mistake, right)
    trace = vitref.trace(planted.weights, planted.image, models.LABELS, backend=planted.backend)
    model = models.model(planted.weights, models.image(), labels=models.LABELS)
    taps = models.evaluated(model.changed(edits=mistake.edits_with()))
    for tap in trace:
        assert np.array_equal(taps[tap], trace[tap]), tap


@cache
def right() -> models.Taps:
    return models.evaluated(models.model(models.weights(), models.image(), labels=models.LABELS))


def local(given: models.Taps, realisation: Realisation | None = None) -> models.Taps:
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    return models.evaluated(model, realisation, given)


def moved(given: models.Taps) -> set[str]:
    return {tap for tap, array in local(given).items() if not np.array_equal(array, right()[tap])}


def test_right_taps_given_change_nothing() -> None:
    assert moved(right()) == set()


@pytest.mark.parametrize(
    ("changed", "follow"),
    [
        ("blocks.0.norm1", {"blocks.0.attn.qkv", "blocks.0.attn.qkv.weight:grad"}),
        ("blocks.0.attn.softmax", {"blocks.0.attn.context", "blocks.0.attn.v:dy"}),
        ("blocks.0.mlp.fc2", {"blocks.0.mlp"}),
        ("blocks.0.mlp", {"blocks.0.add2"}),
        ("logits", {"loss", "logits:dy"}),
        ("blocks.1.attn.scores:dy", {"blocks.1.attn.q:dy", "blocks.1.attn.k:dy"}),
        (
            "blocks.1.mlp.fc1:dy",
            {"blocks.1.norm2:dy", "blocks.1.mlp.fc1.weight:grad", "blocks.1.mlp.fc1.bias:grad"},
        ),
        ("blocks.1:dy", {"blocks.1.add2:dy"}),
    ],
)
def test_a_changed_tap_moves_only_what_takes_it(changed: str, follow: set[str]) -> None:
    array = right()[changed]
    noise = np.random.default_rng(0).standard_normal(array.shape)
    assert moved({**right(), changed: array + 0.1 * noise}) == follow


def test_a_block_output_moves_nothing_before_it() -> None:
    array = right()["blocks.0"]
    taps = moved({"blocks.0": array * 1.01})
    forward = {tap for tap in taps if ":" not in tap}
    assert forward == {
        tap
        for tap in right()
        if ":" not in tap and tap.startswith(("blocks.1", *BEHIND)) and tap != "pos_embed"
    }


BEHIND = ("norm", "tokens", "pool", "head", "logits", "loss")


def test_arrays_are_asked_for_link_by_link() -> None:
    asked: list[str] = []

    class Watching(Cast):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    given = Watching(right(), lambda array: array)
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    evaluation = Evaluation(model)
    evaluation.forward(2, right()["embed"], given)
    assert asked
    assert all(name.startswith("blocks.0") for name in asked)
    assert not any(":" in name for name in asked)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_realisation_computes_in_its_own_dtype(precision: str) -> None:
    taps = local(right(), Realisation(precision, 0))
    assert {str(np.asarray(array).dtype) for array in taps.values()} == {"float32"}


def test_a_given_tap_of_another_shape_is_refused() -> None:
    with pytest.raises(vitref.ConfigError, match="inject"):
        local({"blocks.0.norm1": np.zeros((2, 16, 24))})
