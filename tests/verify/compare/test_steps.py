"""The table of steps says what a pass does: names, order, shapes, inputs, and who may be to blame."""

from functools import cache

import numpy as np
import pytest

import vitref
from tests.verify.compare import models
from vitref.recording import Recording
from vitref.verify import probes
from vitref.verify.mistakes import Case
from vitref.verify.numerics import primitives
from vitref.verify.steps import Step, Steps, bare, table

B = "blocks.0."


@cache
def case(name: str) -> Case:
    return probes.cases()[name]


@cache
def traced(name: str) -> Recording:
    """With labels where the model has classes, else with a cotangent."""
    right = case(name)
    options: dict[str, object] = {"loss": right.loss}
    count, classes = len(right.image), right.weights.config.classes
    if right.labels is not None:
        options["labels"] = right.labels
    elif classes:
        options["labels"] = np.arange(count) % classes
    else:
        width = right.weights.config.width
        options["cotangent"] = np.random.default_rng(0).standard_normal((count, width))
    return vitref.trace(right.weights, right.image, **options)  # type: ignore[arg-type]


def steps_of(name: str) -> Steps:
    loss = case(name).loss if "loss" in traced(name) else None
    return table(case(name).weights.config, len(case(name).image), loss)


@pytest.mark.parametrize("name", probes.MODELS)
def test_it_holds_what_a_trace_records(name: str) -> None:
    steps, trace = steps_of(name), traced(name)
    assert steps.expected.keys() == trace.keys()
    assert all(steps.expected[tap] == trace[tap].shape for tap in trace)


@pytest.mark.parametrize("name", probes.MODELS)
def test_outputs_come_in_the_order_of_the_pass(name: str) -> None:
    steps = steps_of(name)
    outputs = [output for step in steps.steps for output in step.outputs]
    assert outputs == [tap for tap in traced(name) if ":" not in tap]
    known: set[str] = set()
    for step in steps.steps:
        assert known.issuperset(step.inputs), step
        known |= set(step.outputs)


@pytest.mark.parametrize("name", probes.MODELS)
def test_steps_are_where_the_chain_has_them(name: str) -> None:
    steps = steps_of(name)
    depth = case(name).weights.config.depth
    places = [step.place for step in steps.steps]
    assert places == sorted(places)
    last = depth + 3 if "loss" in traced(name) else depth + 2
    assert set(places) == set(range(last + 1))
    for i in range(depth):
        assert all(step.outputs[0].startswith(f"blocks.{i}") for step in steps.steps if step.place == i + 2)
        assert steps.leaving(i + 2) == f"blocks.{i}"
    assert (steps.leaving(0), steps.leaving(1)) == ("image", "embed")


@pytest.mark.parametrize("name", probes.MODELS)
def test_every_parameter_has_one_owner(name: str) -> None:
    steps = steps_of(name)
    owned = [name for step in steps.steps for name in step.parameters if name is not None]
    assert sorted(owned) == sorted(case(name).weights)
    assert all(steps.makes[name].outputs[0] == "blocks.1.mlp.fc1" for name in owned if "1.mlp.fc1" in name)


@pytest.mark.parametrize("images", [1, 3])
def test_shapes_follow_the_batch(images: int) -> None:
    steps = table(models.config(), images, "cross_entropy")
    assert steps.expected["blocks.0.attn.softmax"] == (images, 3, 17, 17)
    assert steps.expected["blocks.0.attn.softmax:dy"] == (images, 3, 17, 17)
    assert steps.expected["loss"] == ()
    assert steps.expected["pos_embed:grad"] == (1, 17, 24)
    assert steps.expected["pos_embed"] == (images, 17, 24)


def steps(**changed: object) -> Steps:
    return table(models.config(**changed), 2, "cross_entropy")


def inputs(output: str) -> tuple[str, ...]:
    return steps().makes[output].inputs


def test_inputs_are_the_outputs_that_a_step_takes() -> None:
    assert inputs("image") == ()
    assert inputs("patch_embed.unfold") == ("image",)
    assert inputs(f"{B}norm1") == ("embed",)
    assert inputs("blocks.1.norm1") == ("blocks.0",)
    assert inputs(f"{B}attn.q") == (f"{B}attn.qkv",)
    assert inputs(f"{B}attn.scores") == (f"{B}attn.q", f"{B}attn.k")
    assert inputs(f"{B}attn.context") == (f"{B}attn.softmax", f"{B}attn.v")
    assert inputs(f"{B}add1") == ("embed", f"{B}attn")
    assert inputs(f"{B}add2") == (f"{B}add1", f"{B}mlp")
    assert inputs("blocks.0") == (f"{B}add2",)
    assert inputs("norm") == ("blocks.1",)
    assert inputs("loss") == ("logits",)


def test_layer_scale_stands_between_branch_and_sum() -> None:
    made = steps(layer_scale=True).makes
    assert made[f"{B}ls1"].inputs == (f"{B}attn",)
    assert made[f"{B}add1"].inputs == ("embed", f"{B}ls1")
    assert made[f"{B}add2"].inputs == (f"{B}add1", f"{B}ls2")


def test_one_step_makes_queries_keys_and_values() -> None:
    made = steps().makes
    assert made[f"{B}attn.q"] is made[f"{B}attn.v"]
    assert made[f"{B}attn.q"].outputs == (f"{B}attn.q", f"{B}attn.k", f"{B}attn.v")
    assert (made[f"{B}attn.q"].path, made[f"{B}attn.q"].component) == (f"{B}attn.q", "split_heads")


def test_keys_are_those_of_a_run() -> None:
    ran = traced("token").ran
    assert {step.key for step in steps_of("token").steps} <= {*ran, "blocks.0", "blocks.1"}


def paths(found: list[Step]) -> list[str]:
    return [step.path for step in found]


def test_with_everything_given_only_the_step_itself_is_to_blame() -> None:
    for step in steps().steps:
        for output in step.outputs:
            given = set(steps().expected) - {output}
            assert paths(steps().span(output, given)) == [step.path]


def test_with_nothing_given_everything_before_is() -> None:
    table_ = steps()
    every = [step.path for step in table_.steps if step.component in primitives()]
    assert paths(table_.span("loss", ())) == every
    assert paths(table_.span(f"{B}norm1", ())) == every[: every.index(f"{B}norm1") + 1]
    assert f"{B}attn.proj" not in paths(table_.span(f"{B}attn.context", ()))


def test_missing_taps_widen_the_span() -> None:
    given = set(steps().expected) - {f"{B}attn.scores", f"{B}attn.softmax"}
    assert paths(steps().span(f"{B}attn.context", given)) == [
        f"{B}attn.scores",
        f"{B}attn.softmax",
        f"{B}attn.context",
    ]
    blocks = ("embed", "blocks.0", "blocks.1")
    inside = paths(steps().span("blocks.1", blocks))
    assert inside[0] == "blocks.1.norm1"
    assert inside[-1] == "blocks.1.add2"
    assert all(path.startswith("blocks.1.") for path in inside)


def test_a_cotangent_blames_the_steps_that_take_the_output() -> None:
    given = set(steps().expected)
    assert paths(steps().span(f"{B}attn.proj:dy", given)) == [f"{B}attn"]
    assert paths(steps().span(f"{B}attn.merge:dy", given)) == [f"{B}attn.proj"]
    assert paths(steps().span(f"{B}add1:dy", given)) == [f"{B}norm2", f"{B}add2"]
    assert paths(steps().span("logits:dy", given)) == ["loss"]
    missing = given - {f"{B}attn.scores:dy", f"{B}attn.softmax:dy"}
    assert paths(steps().span(f"{B}attn.q:dy", missing)) == [
        f"{B}attn.scores",
        f"{B}attn.softmax",
        f"{B}attn.context",
    ]


def test_a_gradient_blames_the_step_that_owns_the_parameter() -> None:
    given = set(steps().expected)
    assert paths(steps().span(f"{B}mlp.fc1.weight:grad", given)) == [f"{B}mlp.fc1"]
    assert paths(steps().span(f"{B}mlp.fc2.bias:grad", given - {f"{B}mlp.fc2:dy"})) == [f"{B}mlp.fc2"]
    assert paths(steps().span("head.weight:grad", ())) == ["head", "logits", "loss"]
    assert set(paths(steps().span("cls_token:grad", ()))) >= {"cls_token", "pos_embed", "loss"}


def test_where_a_tap_is_computed() -> None:
    table_ = steps()
    assert table_.place("blocks.0") == 2
    assert table_.place("blocks.0:dy") == 3
    assert table_.place(f"{B}add2:dy") == 2
    assert table_.place("image:dy") == 1
    assert table_.place("loss:dy") == table_.place("loss")
    assert table_.place("pos_embed:grad") == 1
    assert table_.place("logits:dy") == table_.place("loss")


def test_the_name_behind_a_tap() -> None:
    assert [bare(tap) for tap in ("a.b", "a.b:dy", "a.b.weight:grad")] == ["a.b", "a.b", "a.b.weight"]
