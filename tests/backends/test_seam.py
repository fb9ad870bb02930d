"""The seam between the graph and a backend: when a kernel runs, what it is given, what becomes of it."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.backends.toy_kernels import Workspace, flash, layer_norm, mlp
from tests.graph.checks import above, distance, final, gradients, random_cotangents, rounding, take
from tests.graph.models import MODELS, Model
from vitref.graph import block, vit
from vitref.run import Run, Trace

MODEL, OTHER = MODELS["odd"], MODELS["equal"]
KERNELS: dict[str, Any] = {"attention_core": flash(), "mlp": mlp(), "layer_norm": layer_norm()}

each_kernel = pytest.mark.parametrize("names", [*([name] for name in KERNELS), list(KERNELS)], ids="+".join)
with_and_without = pytest.mark.parametrize("workspace", [False, True], ids=["allocating", "workspace"])


def chosen(names: list[str]) -> dict[str, Any]:
    return {name: KERNELS[name] for name in names}


def cotangent(model: Model = MODEL) -> Any:
    return random_cotangents(model, [final(model)], seed=5)[final(model)]


def passed(model: Model = MODEL, **options: Any) -> Run:
    """A pass forward and back."""
    run, t = take(model, **options)
    run.gradients["image"] = t.undo("", cotangent(model))
    run.finish()
    return run


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """What rounding cannot explain, of the arrays that both have."""
    common = {name: distance(found[name], expected[name]) for name in expected if name in found}
    return above(common, rounding(MODEL))


def kernel_steps(run: Run) -> set[str]:
    return {step for step, how in run.ran.items() if how == "kernel"}


def by_kernel(names: list[str]) -> set[str]:
    """The steps of MODEL that these kernels replace."""
    steps: dict[str, set[str]] = {
        "attention_core": {"blocks.0.attn.<attention_core>", "blocks.1.attn.<attention_core>"},
        "mlp": {"blocks.0.mlp", "blocks.1.mlp"},
        "layer_norm": {f"blocks.{i}.norm{j}" for i in (0, 1) for j in (1, 2)} | {"norm"},
    }
    return set().union(*(steps[name] for name in names))


# Equality with the reference


@each_kernel
@with_and_without
def test_kernels_give_the_references_outputs_and_gradients(names: list[str], workspace: bool) -> None:
    expected = passed(record=None)
    found = passed(record=None, kernels=chosen(names), workspace=Workspace() if workspace else None)
    assert kernel_steps(found) == by_kernel(names)
    assert found.gradients.keys() == expected.gradients.keys()
    assert set(found.taps) <= set(expected.taps)
    assert differences(found.taps, expected.taps) == {}
    assert differences(found.gradients, expected.gradients) == {}


def scaled_gradient(dy: Any, saved: Any, *, xp: Any, ws: Any, add: Any) -> Any:
    """LayerNorm's backward pass without its two mean terms."""
    _, dweight, dbias = layer_norm().backward(dy, saved, xp=xp, ws=ws, add=None)
    return dy * saved[2] * saved[1] + (0 if add is None else add), dweight, dbias


def exchanged_gradients(*arrays: Any, **extra: Any) -> Any:
    dx, dweight, dbias = layer_norm().backward(*arrays, **extra)
    return dx, dbias, dweight


WRONG: dict[str, tuple[str, Any]] = {
    "cotangents of other inputs": ("attention_core", lambda dy, saved, **_: saved[:3]),
    "gradients of other parameters": ("layer_norm", exchanged_gradients),
    "the residual dropped": ("layer_norm", lambda *a, add, **e: layer_norm().backward(*a, add=None, **e)),
    "the residual replaced": ("layer_norm", lambda *a, add, **e: layer_norm().backward(*a, add=a[0], **e)),
    "something added": ("mlp", lambda *a, add, **e: mlp().backward(*a, add=a[0], **e)),
    "mean terms left out": ("layer_norm", scaled_gradient),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_backward_of_a_kernel_is_noticed(what: str) -> None:
    name, backward = WRONG[what]
    kernels = {name: SimpleNamespace(**vars(KERNELS[name]) | {"backward": backward})}
    assert differences(gradients(MODEL, cotangent(), kernels=kernels), gradients(MODEL, cotangent())) != {}


def test_a_workspace_keyed_by_role_alone_is_noticed() -> None:
    """Block 1 overwrites what block 0 saved: no error, and a wrong gradient."""
    found = gradients(MODEL, cotangent(), kernels=chosen(["mlp"]), workspace=Workspace(by_role=True))
    assert differences(found, gradients(MODEL, cotangent())) != {}


# Which of the two runs


@each_kernel
def test_ran_says_which_steps_a_kernel_did(names: list[str]) -> None:
    ran = passed(kernels=chosen(names)).ran
    assert {how for step, how in ran.items() if step in by_kernel(names)} == {"kernel"}
    assert {how for step, how in ran.items() if step not in by_kernel(names)} == {"reference"}
    assert set(passed().ran.values()) == {"reference"}


def test_ran_lists_no_step_inside_a_kernel() -> None:
    assert set(passed().ran) - set(passed(kernels=KERNELS).ran) == {
        f"blocks.{i}.{step}"
        for i in (0, 1)
        for step in ("attn.scores", "attn.softmax", "attn.context", "mlp.fc1", "mlp.act", "mlp.fc2")
    }


def test_a_kernel_that_refuses_leaves_the_step_to_the_reference_and_says_why() -> None:
    run = passed(kernels={"attention_core": flash(widest=3)}, record=None)
    assert run.ran["blocks.0.attn.<attention_core>"] == "reference (heads wider than 3)"
    assert run.ran["blocks.0.attn.softmax"] == "reference"
    assert "blocks.0.attn.softmax" in run.taps


def test_a_kernel_sees_the_static_arguments_when_it_decides() -> None:
    run = passed(OTHER, kernels=KERNELS)
    assert run.ran["blocks.2.mlp"] == "reference (activation gelu_tanh)"
    assert run.ran["blocks.2.attn.<attention_core>"] == run.ran["norm"] == "kernel"


def test_kernels_without_dropout_leave_a_training_pass_to_the_reference() -> None:
    """`MODELS["training"]` has every rate above 0."""
    model = MODELS["training"]
    run = passed(model, kernels=KERNELS)
    assert run.ran["blocks.1.mlp"] == run.ran["blocks.1.attn.<attention_core>"] == "reference (dropout)"
    assert run.ran["blocks.1.norm1"] == "kernel"
    assert differences(run.gradients, passed(model).gradients) == {}


def test_recording_everything_displaces_no_kernel_and_hidden_taps_are_absent() -> None:
    plain, run = passed(record=None), passed(record=None, kernels=KERNELS)
    assert kernel_steps(run) == by_kernel(list(KERNELS))
    hidden = {f"blocks.{i}.attn.{step}" for i in (0, 1) for step in ("scores", "softmax", "context")}
    hidden |= {f"blocks.{i}.mlp.{step}" for i in (0, 1) for step in ("fc1", "act", "fc2")}
    assert set(plain.taps) - set(run.taps) == hidden | {f"{name}:dy" for name in hidden}
    assert set(run.taps) <= set(plain.taps)


VISIBLE = [
    "blocks.0.mlp", "blocks.0.mlp:dy", "blocks.0.attn.q", "blocks.0.attn.v:dy", "blocks.0.attn.merge",
    "blocks.0", "norm", "logits:dy", "blocks.0.mlp.fc1.weight:grad", "blocks.1.mlp.fc2.bias:grad",
]  # fmt: skip


@pytest.mark.parametrize("name", VISIBLE)
def test_a_visible_tap_displaces_no_kernel(name: str) -> None:
    run = passed(record=frozenset({name}), kernels=KERNELS)
    assert kernel_steps(run) == by_kernel(list(KERNELS))


@pytest.mark.parametrize("how", ["tap", "cotangent tap", "inject", "cotangents"])
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("blocks.1.attn.softmax", "blocks.1.attn.<attention_core>"),
        ("blocks.1.attn.context", "blocks.1.attn.<attention_core>"),
        ("blocks.1.mlp.act", "blocks.1.mlp"),
        ("blocks.1.mlp.fc2", "blocks.1.mlp"),
    ],
)
def test_a_hidden_name_makes_the_reference_run_for_that_step_alone(name: str, step: str, how: str) -> None:
    value = random_cotangents(MODEL, [name], seed=6)[name]
    ways: dict[str, dict[str, Any]] = {
        "tap": {"record": frozenset({name})},
        "cotangent tap": {"record": frozenset({f"{name}:dy"})},
        "inject": {"inject": {name: value}},
        "cotangents": {"cotangents": {name: value}},
    }
    options = ways[how]
    run, plain = passed(kernels=KERNELS, **options), passed(**options)
    assert run.ran[step] == f"reference ({name} was asked for)"
    assert kernel_steps(run) == by_kernel(list(KERNELS)) - {step}
    assert run.taps.keys() == plain.taps.keys()
    assert differences(run.taps, plain.taps) == {}
    assert differences(run.gradients, plain.gradients) == {}


def test_a_longer_name_with_the_same_beginning_is_not_hidden() -> None:
    kernel = {"mlp": mlp(HIDES=("fc", "ac"))}
    assert passed(record=frozenset({"blocks.0.mlp.fc1"}), kernels=kernel).ran["blocks.0.mlp"] == "kernel"


def swallowing_block() -> Any:
    """A kernel for a whole block, made of a private run of the reference."""
    names = {name.partition(".0.")[2] for name in MODEL.config.parameter_shapes() if ".0." in name}
    parameters = tuple(sorted(names))

    def forward(x: Any, *values: Any, xp: Any, ws: Any, keep: bool, **static: Any) -> Any:
        t = Trace(Run(dict(zip(parameters, values, strict=True)), xp=xp))
        return t.step("", block, x, **static), t

    def backward(dy: Any, t: Any, *, xp: Any, ws: Any) -> Any:
        dx = t.undo("", dy)
        return dx, *(t.run.gradients[name] for name in parameters)

    hides = ("norm1", "attn", "add1", "norm2", "mlp", "add2")
    return mlp(
        PARAMS=parameters,
        HIDES=hides,
        ADDS=False,
        forward=forward,
        backward=backward,
        refuses=lambda x, **static: None,
    )


def test_a_kernel_displaced_by_a_tap_leaves_its_inside_to_other_kernels() -> None:
    kernels = KERNELS | {"block": swallowing_block()}
    run = passed(kernels=kernels, record=frozenset({"blocks.0.attn.softmax"}))
    assert kernel_steps(run) == {"blocks.1", "blocks.0.mlp", "blocks.0.norm1", "blocks.0.norm2", "norm"}
    assert run.ran["blocks.0"] == "reference (blocks.0.attn.softmax was asked for)"
    assert run.ran["blocks.0.attn.<attention_core>"] == "reference (blocks.0.attn.softmax was asked for)"
    assert differences(run.gradients, passed().gradients) == {}


# What a kernel is given


def spy(kernel: Any, calls: list[tuple[str, Any]]) -> Any:
    """`kernel`, with the keyword arguments of every call noted."""

    def forward(*arrays: Any, **extra: Any) -> Any:
        calls.append(("forward", extra))
        return kernel.forward(*arrays, **extra)

    def backward(*arrays: Any, **extra: Any) -> Any:
        calls.append(("backward", extra))
        return kernel.backward(*arrays, **extra)

    return SimpleNamespace(**(vars(kernel) | {"forward": forward, "backward": backward}))


@pytest.mark.parametrize("keep", [True, False])
def test_a_kernel_is_told_whether_to_save(keep: bool) -> None:
    calls: list[tuple[str, Any]] = []
    take(MODEL, kernels={"attention_core": spy(flash(), calls)}, keep=keep)
    assert [extra["keep"] for _, extra in calls] == [keep, keep]


def test_a_kernel_gets_static_arguments_xp_and_the_workspace_of_its_step() -> None:
    calls: list[tuple[str, Any]] = []
    run = passed(kernels={"layer_norm": spy(layer_norm(), calls)}, workspace=Workspace())
    forwards = [extra for call, extra in calls if call == "forward"]
    backwards = [extra for call, extra in calls if call == "backward"]
    assert all(extra.keys() == {"eps", "xp", "ws", "keep"} for extra in forwards)
    assert all(extra.keys() == {"xp", "ws", "add"} for extra in backwards)
    assert all(extra["eps"] == MODEL.config.eps for extra in forwards)
    assert all(extra["xp"] is run.xp for extra in forwards + backwards)
    for before, after in zip(forwards, reversed(backwards), strict=True):
        assert before["ws"] is after["ws"] is not None
    assert [extra["add"] is None for extra in backwards] == [True, False, False, False, False]


def test_without_a_workspace_a_kernel_gets_none_and_keeps_what_it_saved() -> None:
    calls: list[tuple[str, Any]] = []
    passed(kernels={"mlp": spy(mlp(), calls)})
    assert all(extra["ws"] is None for _, extra in calls)


def test_only_a_kernel_that_adds_is_given_a_further_cotangent() -> None:
    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
        return layer_norm().backward(dy, saved, xp=xp, ws=ws, add=None)

    kernels = {"layer_norm": layer_norm(ADDS=False, backward=backward)}
    assert differences(gradients(MODEL, cotangent(), kernels=kernels), gradients(MODEL, cotangent())) == {}


def test_nothing_arrives_at_a_kernel_whose_output_nobody_weighs() -> None:
    """`dy` is None behind the given cotangent: zero gradients, and no call."""
    calls: list[tuple[str, Any]] = []
    kernels = {name: spy(kernel, calls) for name, kernel in KERNELS.items()}
    given = random_cotangents(MODEL, ["embed"], seed=1)
    found = gradients(MODEL, None, kernels=kernels, cotangents=given)
    assert [call for call, _ in calls if call == "backward"] == []
    assert found.keys() == {*MODEL.config.parameter_shapes(), "image"}
    assert not found["blocks.0.mlp.fc1.weight"].any()
    assert found["patch_embed.proj.weight"].any()


def test_a_kernel_that_returns_too_few_gradients_is_refused() -> None:
    short = mlp(backward=lambda *a, **e: mlp().backward(*a, **e)[:-1])
    with pytest.raises(ValueError, match="shorter"):
        passed(kernels={"mlp": short})


# Workspace


def test_every_step_has_buffers_of_its_own_and_the_next_run_reuses_them() -> None:
    workspace = Workspace()
    first = passed(kernels=KERNELS, workspace=workspace, record=None)
    buffers = dict(workspace.buffers)
    assert {step for step, *_ in buffers} == by_kernel(list(KERNELS))
    taps = {name: tap.copy() for name, tap in (first.taps | first.gradients).items()}
    second = passed(kernels=KERNELS, workspace=workspace, record=None)
    assert workspace.buffers.keys() == buffers.keys()
    assert all(workspace.buffers[key] is buffers[key] for key in buffers)
    for name, tap in (second.taps | second.gradients).items():
        np.testing.assert_array_equal(tap, taps[name])


def test_results_do_not_alias_the_workspace() -> None:
    workspace = Workspace()
    run = passed(kernels=KERNELS, workspace=workspace, record=None)
    for buffer in workspace.buffers.values():
        assert not any(np.shares_memory(buffer, array) for array in (run.taps | run.gradients).values())


def test_another_batch_has_other_buffers() -> None:
    workspace, alone = Workspace(), {**MODEL.arrays, "image": MODEL.arrays["image"][:1]}
    passed(kernels=KERNELS, workspace=workspace)
    count = len(workspace)
    take(MODEL._replace(arrays=alone), kernels=KERNELS, workspace=workspace)
    assert len(workspace) == 2 * count


def test_a_named_model_has_buffers_under_its_name() -> None:
    workspace, named = Workspace(), {f"a.{name}": array for name, array in MODEL.arrays.items()}
    t = Trace(Run(named, kernels=chosen(["mlp"]), workspace=workspace))
    t.step("a.blocks.0", block, np.zeros((1, 3, 6)), **vit.block_options(0, MODEL.config, None))
    assert [step for step, *_ in workspace.buffers] == ["a.blocks.0.mlp"]
