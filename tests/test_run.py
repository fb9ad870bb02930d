"""Run and Trace: names, order, taps, injected arrays, given cotangents. Kernels: backends/test_seam.py."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitref.array import Array, HostArray
from vitref.components import add, class_token, layer_norm, linear, softmax, split_heads
from vitref.errors import ConfigError
from vitref.run import Run, Trace
from vitref.testing import tolerance


def branch_forward(t: Trace, x: Array) -> Array:
    y = t.step("norm", layer_norm, x, eps=1e-3)
    y = t.step("fc", linear, y)
    return t.step("add", add, x, y)


def branch_backward(t: Trace, dy: Array) -> Array:
    dx, dbranch = t.undo("add", dy)
    dbranch = t.undo("fc", dbranch)
    return t.undo("norm", dbranch, add=dx)


BRANCH = SimpleNamespace(__name__="toys.branch", forward=branch_forward, backward=branch_backward)
"""x + fc(norm(x)), as a composite."""


def random(*shape: int, seed: int = 0) -> HostArray:
    """Read-only, so that writing into an argument raises."""
    array = np.random.default_rng([seed, *shape]).standard_normal(shape)
    array.setflags(write=False)
    return array


def affine(*names: str, width: int = 4) -> dict[str, HostArray]:
    """`NAME.weight` and `NAME.bias` of linear layers (width, width)."""
    parameters = {}
    for seed, name in enumerate(names):
        parameters[f"{name}.weight"] = random(width, width, seed=seed)
        parameters[f"{name}.bias"] = random(width, seed=seed)
    return parameters


def branches(*names: str) -> dict[str, HostArray]:
    """The parameters of composites `BRANCH` of these names."""
    norms = {f"{name}.norm.{kind}": random(4, seed=9) for name in names for kind in ("weight", "bias")}
    return affine(*(f"{name}.fc" for name in names)) | norms


X, DY = random(2, 3, 4, seed=1), random(2, 3, 4, seed=2)


def two_branches(dy: HostArray | None = DY, **options: Any) -> tuple[Run, Any]:
    """A pass forward and back through BRANCH "a" and BRANCH "b": the run and the cotangent of X."""
    run = Run(branches("a", "b"), **options)
    t = Trace(run)
    t.step("b", BRANCH, t.step("a", BRANCH, X))
    dx = t.undo("a", t.undo("b", dy))
    run.finish()
    return run, dx


ALL = ["a.norm", "a.fc", "a.add", "a", "b.norm", "b.fc", "b.add", "b"]


# Names


def test_one_path_names_the_step_its_parameters_their_gradients_and_its_taps() -> None:
    run = Run(affine("blocks.0.fc"), record=None)
    t = Trace(run).at("blocks.0")
    y = t.step("fc", linear, X)
    t.undo("fc", DY)
    np.testing.assert_array_equal(
        y, linear.forward(X, run.parameters["blocks.0.fc.weight"], run.parameters["blocks.0.fc.bias"])[0]
    )
    assert list(run.ran) == ["blocks.0.fc"]
    assert list(run.outputs) == ["blocks.0.fc"]
    assert list(run.taps) == ["blocks.0.fc", "blocks.0.fc:dy"]
    assert list(run.gradients) == ["blocks.0.fc.weight", "blocks.0.fc.bias"]


def test_composite_prefixes_its_steps_and_has_an_output_of_its_own() -> None:
    run, _ = two_branches()
    assert list(run.outputs) == ALL
    assert run.gradients.keys() == run.parameters.keys()


def test_steps_of_a_composite_without_a_name_are_named_as_the_parents() -> None:
    run = Run(branches("block"))
    t = Trace(run).at("block")
    t.step("", BRANCH, X)
    assert list(run.outputs) == ["block.norm", "block.fc", "block.add"]
    assert list(run.ran) == ["block.<branch>", "block.norm", "block.fc", "block.add"]
    t.undo("", DY)
    run.finish()
    assert run.gradients.keys() == run.parameters.keys()


def test_a_parameter_without_a_name_has_the_path_of_its_step() -> None:
    run = Run({"cls_token": random(1, 1, 4)})
    t = Trace(run)
    y = t.step("cls_token", class_token, X)
    np.testing.assert_array_equal(y[0, 0], run.parameters["cls_token"][0, 0])
    t.undo("cls_token", y)
    assert {name: g.shape for name, g in run.gradients.items()} == {"cls_token": (1, 1, 4)}


def test_several_outputs_have_names_beside_each_other() -> None:
    run = Run({}, record=None)
    q, k, v = Trace(run).at("attn").step("", split_heads, random(2, 5, 12), heads=2)
    assert list(run.outputs) == ["attn.q", "attn.k", "attn.v"]
    assert run.outputs["attn.k"].shape == (2, 2, 5, 2)
    assert all(run.taps[f"attn.{name}"] is array for name, array in zip("qkv", (q, k, v), strict=True))


def test_an_absent_parameter_is_none_even_where_one_of_that_name_exists() -> None:
    run = Run(affine("fc"))
    t = Trace(run)
    y = t.step("fc", linear, X, absent=("bias",))
    np.testing.assert_array_equal(y, X @ run.parameters["fc.weight"].T)
    t.undo("fc", DY)
    assert list(run.gradients) == ["fc.weight"]


def test_a_parameter_that_should_be_there_is_not_skipped() -> None:
    with pytest.raises(KeyError, match=r"fc\.bias"):
        Trace(Run({"fc.weight": random(4, 4)})).step("fc", linear, X)


# Order


def test_a_path_can_be_taken_once() -> None:
    t = Trace(Run(affine("fc")))
    t.step("fc", linear, X)
    with pytest.raises(RuntimeError, match="step fc taken twice"):
        t.step("fc", linear, X)
    t.undo("fc", DY)
    with pytest.raises(RuntimeError, match="step fc taken twice"):
        t.step("fc", linear, X)


def test_two_units_without_a_name_need_different_titles() -> None:
    t = Trace(Run({}))
    t.step("", split_heads, random(2, 5, 12), heads=2)
    with pytest.raises(RuntimeError, match="step <split_heads> taken twice"):
        t.step("", split_heads, random(2, 5, 12), heads=2)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("", "first"), ("", "thir"), ("", "third.x"), ("third", "third"), ("a", "third"), ("", ""), ("a", "")],
)
def test_undo_out_of_order_raises(prefix: str, name: str) -> None:
    run = Run(affine("first", "second", "third"))
    t = Trace(run)
    for step in ("first", "second", "third"):
        t.step(step, linear, X)
    with pytest.raises(RuntimeError, match="out of order: the last step is third"):
        (t.at(prefix) if prefix else t).undo(name, DY)
    assert [record.path for record in run.stack] == ["first", "second", "third"]


@pytest.mark.parametrize(("prefix", "name"), [("attn", "qkv"), ("", ""), ("attn.x", ""), ("", "attn")])
def test_undo_of_something_else_than_the_unnamed_unit_raises(prefix: str, name: str) -> None:
    t = Trace(Run({}))
    t.at("attn").step("", split_heads, random(2, 5, 12), heads=2)
    with pytest.raises(RuntimeError, match=r"out of order: the last step is attn\.<split_heads>"):
        (t.at(prefix) if prefix else t).undo(name, (None, None, None))


def test_undo_of_nothing_raises() -> None:
    with pytest.raises(RuntimeError, match="undo of fc out of order: the last step is nothing"):
        Trace(Run({})).undo("fc", DY)


def test_steps_left_over_raise_at_the_end() -> None:
    run = Run(affine("first", "second"))
    t = Trace(run)
    t.step("first", linear, X)
    t.step("second", linear, X)
    with pytest.raises(RuntimeError, match="steps left over: first, second"):
        run.finish()
    t.undo("second", DY)
    with pytest.raises(RuntimeError, match="steps left over: first$"):
        run.finish()
    t.undo("first", DY)
    run.finish()


def test_a_step_that_the_backward_pass_of_a_composite_forgets_is_noticed() -> None:
    forgetful = SimpleNamespace(
        __name__="forgetful", forward=branch_forward, backward=lambda t, dy: t.undo("add", dy)[0]
    )
    run = Run(branches("a"))
    t = Trace(run)
    t.step("a", forgetful, X)
    t.undo("a", DY)
    with pytest.raises(RuntimeError, match=r"steps left over: a\.norm, a\.fc"):
        run.finish()


def test_inference_saves_nothing() -> None:
    run = Run(branches("a"), keep=False)
    t = Trace(run)
    kept, _ = two_branches(record=None)
    np.testing.assert_array_equal(t.step("a", BRANCH, X), kept.taps["a"])
    assert run.stack == []
    run.finish()
    with pytest.raises(RuntimeError, match="the last step is nothing"):
        t.undo("a", DY)


# Tables and masks


def tables(rows: int, columns: int, fill: float) -> HostArray:
    return np.full((rows, columns), fill)


def test_a_constant_is_built_on_the_host_in_float64_unless_said_otherwise() -> None:
    built = Trace(Run({})).at("embed").constant(tables, 2, 3, 0.5)
    assert (built.dtype, built.shape) == (np.float64, (2, 3))
    calls: list[Any] = []

    def constants(build: Any, *arguments: Any) -> Any:
        calls.append((build, arguments))
        return build(*arguments).astype(np.float32)

    assert Trace(Run({}, constants=constants)).constant(tables, 2, 3, 0.5).dtype == np.float32
    assert calls == [(tables, (2, 3, 0.5))]


def test_a_mask_is_asked_for_under_the_path_of_its_step() -> None:
    calls: list[Any] = []

    def masks(path: str, shape: tuple[int, ...], rate: float) -> HostArray:
        calls.append((path, shape, rate))
        return np.ones(shape)

    t = Trace(Run({}, masks=masks))
    assert t.mask("pos_drop", (2, 3), 0.1).shape == (2, 3)
    t.at("blocks.0").at("mlp").at("").mask("drop1", np.zeros((2, 5)).shape, 0.2)
    assert calls == [("pos_drop", (2, 3), 0.1), ("blocks.0.mlp.drop1", (2, 5), 0.2)]


def test_a_mask_in_evaluation_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match=r"blocks\.0\.drop_path1 needs masks, and this pass has none"):
        Trace(Run({})).at("blocks.0").mask("drop_path1", (2,), 0.1)


# Taps


def test_without_a_selection_everything_is_recorded() -> None:
    run, dx = two_branches(record=None)
    backwards = ["b", "b.add", "b.fc", "b.norm", "a", "a.add", "a.fc", "a.norm"]
    assert list(run.taps) == ALL + [f"{path}:dy" for path in backwards]
    assert run.taps["b:dy"] is DY
    assert all(run.taps[path].shape == run.outputs[path].shape for path in ALL)


def test_only_what_is_named_is_recorded() -> None:
    assert two_branches()[0].taps == {}
    run, _ = two_branches(record=frozenset({"a.fc", "b.norm:dy", "never"}))
    everything, _ = two_branches(record=None)
    assert list(run.taps) == ["a.fc", "b.norm:dy"]
    for name, tap in run.taps.items():
        np.testing.assert_array_equal(tap, everything.taps[name])


def test_names_of_one_value_share_the_array() -> None:
    taps = two_branches(record=None)[0].taps
    assert taps["a"] is taps["a.add"]
    assert taps["b:dy"] is taps["b.add:dy"] is taps["b.fc:dy"]


def test_cotangents_are_recorded_as_zero_where_none_arrives() -> None:
    run, dx = two_branches(dy=None, record=None, cotangents={"a.fc": DY})
    arrived = {"a.fc:dy", "a.norm:dy"}
    for path in ALL:
        tap = run.taps[f"{path}:dy"]
        assert tap.shape == X.shape
        assert tap.dtype == X.dtype
        assert tap.any() == (f"{path}:dy" in arrived)
    assert dx is not None


def test_a_named_cotangent_is_recorded_as_zero_where_none_arrives() -> None:
    run, _ = two_branches(dy=None, record=frozenset({"b.fc:dy"}))
    assert list(run.taps) == ["b.fc:dy"]
    assert not run.taps["b.fc:dy"].any()


def test_the_recorded_cotangent_includes_the_given_one() -> None:
    plain, _ = two_branches(record=None)
    given, _ = two_branches(record=None, cotangents={"a": X})
    np.testing.assert_array_equal(given.taps["a:dy"], plain.taps["a:dy"] + X)
    np.testing.assert_array_equal(given.taps["b.norm:dy"], plain.taps["b.norm:dy"])


# Injected arrays


def test_successors_see_the_injected_array_and_the_tap_shows_the_steps_own() -> None:
    plain, _ = two_branches(record=None)
    run, _ = two_branches(record=None, inject={"a.fc": DY})
    np.testing.assert_array_equal(run.taps["a.fc"], plain.taps["a.fc"])
    np.testing.assert_array_equal(run.taps["a.add"], X + DY)
    assert run.taps["a"] is run.taps["a.add"]
    assert not np.array_equal(run.taps["b.norm"], plain.taps["b.norm"])


def test_an_injected_composite_output_enters_the_next_composite() -> None:
    run, _ = two_branches(record=None, inject={"a": DY})
    np.testing.assert_array_equal(run.taps["b.add"], DY + run.taps["b.fc"])
    np.testing.assert_array_equal(run.taps["a"], X + run.taps["a.fc"])


def test_one_of_several_outputs_can_be_injected() -> None:
    run = Run({}, record=None, inject={"attn.k": random(2, 2, 5, 2)})
    q, k, v = Trace(run).at("attn").step("", split_heads, random(2, 5, 12), heads=2)
    assert k is run.inject["attn.k"]
    assert q is run.taps["attn.q"]
    assert v is run.taps["attn.v"]


def test_the_backward_pass_uses_what_the_forward_pass_saw() -> None:
    run, _ = two_branches(record=None, inject={"a.norm": DY})
    expected = np.einsum("nti,ntj->ij", run.taps["a.fc:dy"], DY)
    np.testing.assert_allclose(run.gradients["a.fc.weight"], expected, rtol=1e-13)


@pytest.mark.parametrize("argument", ["inject", "cotangents"])
@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4), (2, 3, 1), (), (2, 3, 5)])
def test_a_given_array_of_another_shape_is_refused(argument: str, shape: tuple[int, ...]) -> None:
    options: dict[str, Any] = {argument: {"a.fc": random(*shape)}}
    with pytest.raises(ConfigError) as caught:
        two_branches(**options)
    assert "a.fc" in caught.value.where
    assert str(shape) in caught.value.found
    assert "(2, 3, 4)" in caught.value.expected


# Cotangents


@pytest.mark.parametrize("shape", [(1, 3, 4), (4,), (), (2, 3, 5)])
def test_a_cotangent_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the cotangent of b has shape .* expected \(2, 3, 4\)"):
        two_branches(dy=random(*shape))


def test_the_final_cotangent_may_be_given_by_name() -> None:
    direct, by_name = two_branches(), two_branches(dy=None, cotangents={"b": DY})
    np.testing.assert_array_equal(direct[1], by_name[1])
    for name, gradient in direct[0].gradients.items():
        np.testing.assert_array_equal(gradient, by_name[0].gradients[name])


def test_gradients_of_several_cotangents_add_up() -> None:
    given = {"a.norm": random(2, 3, 4, seed=3), "a": random(2, 3, 4, seed=4), "b.fc": random(2, 3, 4, seed=5)}
    together, dx = two_branches(cotangents=given)
    parts = [two_branches(), *(two_branches(dy=None, cotangents={name: c}) for name, c in given.items())]
    bound = tolerance("float64", dx.size)
    np.testing.assert_allclose(dx, sum(part[1] for part in parts), rtol=bound, atol=bound)
    for name, gradient in together.gradients.items():
        expected = sum(part[0].gradients[name] for part in parts)
        np.testing.assert_allclose(gradient, expected, rtol=bound, atol=bound, err_msg=name)


def test_parameters_behind_the_given_cotangent_have_zero_gradients() -> None:
    run, _ = two_branches(dy=None, cotangents={"a": DY})
    assert run.gradients.keys() == run.parameters.keys()
    for name, gradient in run.gradients.items():
        assert gradient.shape == run.parameters[name].shape
        assert gradient.dtype == run.parameters[name].dtype
        assert gradient.any() == name.startswith("a.")


def test_no_cotangent_at_all_gives_zero_gradients_and_none() -> None:
    run, dx = two_branches(dy=None)
    assert dx is None
    assert run.gradients.keys() == run.parameters.keys()
    assert not any(gradient.any() for gradient in run.gradients.values())


def test_zeros_are_of_the_dtype_of_the_run() -> None:
    run = Run({name: array.astype(np.float32) for name, array in branches("a").items()}, record=None)
    t = Trace(run)
    t.step("a", BRANCH, X.astype(np.float32))
    t.undo("a", None)
    assert {array.dtype.name for array in (run.taps | run.gradients).values()} == {"float32"}
    t.at("b").step("", split_heads, random(2, 5, 12).astype(np.float32), heads=2)
    assert t.at("b").undo("", (None, None, np.ones((2, 2, 5, 2), np.float32))).dtype == np.float32


def test_zero_gradients_leave_out_absent_parameters() -> None:
    run = Run(affine("fc"))
    t = Trace(run)
    t.step("fc", linear, X, absent=("bias",))
    assert t.undo("fc", None) is None
    assert list(run.gradients) == ["fc.weight"]


@pytest.mark.parametrize("given", ["q", "k", "v", "qk", "qv", "kv"])
def test_a_missing_cotangent_among_several_outputs_is_zero(given: str) -> None:
    whole = {name: random(2, 2, 5, 3, seed=i) if name in given else None for i, name in enumerate("qkv")}
    by_name = {f"attn.{name}": dy for name, dy in whole.items() if dy is not None}
    dq, dk, dv = (np.zeros((2, 2, 5, 3)) if dy is None else dy for dy in whole.values())
    expected = split_heads.backward((dq, dk, dv), None).qkv

    def dqkv(dy: Any, cotangents: dict[str, HostArray]) -> Any:
        t = Trace(Run({}, cotangents=cotangents)).at("attn")
        t.step("", split_heads, random(2, 5, 18), heads=2)
        return t.undo("", dy)

    np.testing.assert_array_equal(dqkv(tuple(whole.values()), {}), expected)
    np.testing.assert_array_equal(dqkv(None, by_name), expected)
    np.testing.assert_array_equal(dqkv((None, None, None), by_name), expected)


@pytest.mark.parametrize("dy", [None, (None, None, None)])
def test_no_cotangent_for_any_of_several_outputs_is_none(dy: Any) -> None:
    run = Run({}, record=None)
    t = Trace(run).at("attn")
    t.step("", split_heads, random(2, 5, 12), heads=2)
    assert t.undo("", dy) is None
    assert [name for name, tap in run.taps.items() if name.endswith(":dy") and not tap.any()] == [
        "attn.q:dy",
        "attn.k:dy",
        "attn.v:dy",
    ]


def test_several_inputs_have_several_cotangents() -> None:
    t = Trace(Run({}))
    t.step("add", add, X, DY)
    da, db = t.undo("add", DY)
    assert da is DY
    assert db is DY
    t.step("add2", add, X, DY)
    assert t.undo("add2", None) == (None, None)


@pytest.mark.parametrize(("name", "part"), [("fc", linear), ("a", BRANCH), ("softmax", softmax)])
def test_a_further_cotangent_of_the_input_is_added(name: str, part: Any) -> None:
    def dx(dy: HostArray | None, **extra: Any) -> Any:
        t = Trace(Run(affine("fc") | branches("a")))
        t.step(name, part, X)
        return t.undo(name, dy, **extra)

    np.testing.assert_array_equal(dx(DY, add=X), dx(DY) + X)
    assert dx(None, add=X) is X
    assert dx(None) is None


def test_a_further_cotangent_is_refused_where_the_step_has_several_inputs() -> None:
    t = Trace(Run({}))
    t.step("add", add, X, DY)
    with pytest.raises(RuntimeError, match="undo of add with add=: it has 2 inputs"):
        t.undo("add", DY, add=X)
