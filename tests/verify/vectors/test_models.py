"""A second implementation of the whole model passes the vectors, and one with a planted bug does not."""

import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verify.vectors import second, second_model
from tests.verify.vectors.reader import Array, Read, manifest, vectors
from tests.verify.vectors.second_model import Model

STEP = 1e-30


@cache
def models(folder: Path) -> list[Read]:
    return list(vectors(folder, lambda group: group["kind"] == "model" and group["group"] != "refused"))


def test_pack_has_the_models_that_matter(pack: Path) -> None:
    configs = [vector.settings["config"] for vector in models(pack)]
    assert {config["pool"] for config in configs} == {"token", "mean", "mean_all"}
    assert {config["activation"] for config in configs} == {"gelu", "gelu_tanh"}
    assert {vector.settings.get("loss") for vector in models(pack)} == {None, "cross_entropy", "sigmoid"}
    assert any("train" in vector.settings for vector in models(pack))
    for field in ("class_token", "class_position", "qkv_bias", "layer_scale"):
        assert {config[field] for config in configs} == {True, False}


def test_second_implementation_has_every_activation(pack: Path) -> None:
    for vector in models(pack):
        second_model.check(vector.settings, vector.inputs)
        found = Model(vector.settings, vector.inputs, {}).taps
        wrong = [name for name in vector.outputs if not vector.holds(name, found.get(name), "float64")]
        assert wrong == [], vector.group


def test_gradients_are_those_of_the_second_implementation(pack: Path) -> None:
    for vector in models(pack):
        assert {f"{name}:dy" for name in vector.outputs} <= set(vector.gradients)
        parameters = {name.removeprefix("weight.") for name in vector.inputs if name.startswith("weight.")}
        assert {f"{name}:grad" for name in parameters} <= set(vector.gradients)
        wrong = [name for name in vector.gradients if not is_derivative(vector, name)]
        assert wrong == [], vector.group


def is_derivative(vector: Read, name: str) -> bool:
    """Whether <gradient, v> is the derivative of <dy, output> along v, a random direction."""
    gradient = vector.gradients[name]
    v = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(gradient.shape)
    where, _, kind = name.rpartition(":")
    inputs, shift = dict(vector.inputs), {}
    if kind == "grad":
        inputs[f"weight.{where}"] = inputs[f"weight.{where}"] + 1j * STEP * v
    else:
        shift = {where: 1j * STEP * v}
    output = vector.settings["output"]
    dy = vector.inputs.get(f"cotangent.{output}", np.ones(()))
    slope = np.sum(dy * Model(vector.settings, inputs, shift).taps[output].imag) / STEP
    allowed = vector.tolerances[name]["float64"] * np.sum(np.abs(v))
    return bool(abs(slope - np.sum(gradient * v)) <= allowed)


def test_second_implementation_refuses(pack: Path) -> None:
    refused = list(vectors(pack, lambda group: group["group"] == "refused"))
    assert len(refused) > 20
    for vector in refused:
        with pytest.raises(ValueError, match=r".+"):
            second_model.check(vector.settings, vector.inputs)


def other_gelu(x: Array, form: str, right: Callable[..., Array] = second.gelu) -> Array:
    return right(x, "tanh")


def softmax_over_queries(x: Array, right: Callable[..., Array] = second.softmax) -> Array:
    return np.swapaxes(right(np.swapaxes(x, -1, -2)), -1, -2)


def mean_with_class_token(x: Array, start: int, right: Callable[..., Array] = second.mean_pool) -> Array:
    return right(x, 0)


@pytest.mark.parametrize(
    ("mistake", "name", "wrong"),
    [
        ("gelu_tanh_for_erf", "gelu", other_gelu),
        ("softmax_over_queries", "softmax", softmax_over_queries),
        ("mean_with_class_token", "mean_pool", mean_with_class_token),
    ],
)
def test_planted_bug_fails_where_it_is_flagged(
    pack: Path, mistake: str, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = {vector.group for vector in models(pack) if mistake in vector.flags}
    monkeypatch.setattr(second, name, wrong)
    failing = {vector.group for vector in models(pack) if wrong_outputs(vector)}
    assert flagged
    assert failing == flagged


def wrong_outputs(vector: Read) -> list[str]:
    found: Mapping[str, Array] = Model(vector.settings, vector.inputs, {}).taps
    return [name for name in vector.outputs if not vector.holds(name, found.get(name), "float64")]


def test_gradient_of_one_parameter_off_by_a_little_is_noticed(pack: Path) -> None:
    vector = models(pack)[0]
    name = "blocks.1.attn.qkv.weight:grad"
    off = vector.gradients[name] + 1e-9
    assert not is_derivative(vector._replace(gradients={**vector.gradients, name: off}), name)


def test_tiny_test_is_the_trace_of_that_name(pack: Path) -> None:
    import vitref
    from vitref import drawn

    (vector,) = (vector for vector in models(pack) if vector.group == "tiny-test")
    model = drawn.draw("tiny-test", 0)
    trace = vitref.trace(model.weights, model.image, model.labels)
    assert set(trace) == set(vector.expected)
    assert vector.wrong(trace) == []


def test_every_group_says_what_it_is(pack: Path) -> None:
    for group in manifest(pack)["groups"]:
        assert group["what"]
        assert group["source"]
