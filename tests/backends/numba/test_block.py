"""Whole blocks by a team: the reference's numbers, forward and back, however the work is divided."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vitref.array import HostArray
from vitref.backends.interface import bound
from vitref.backends.workspace import Workspace
from vitref.graph import block as reference
from vitref.run import Run, Trace
from vitref.testing import tolerance

pytest.importorskip("numba")

from vitref.backends.numba_kernels import block, block_forward, heads, shares
from vitref.backends.numba_kernels.blas import limited
from vitref.backends.numba_kernels.products import add_branch
from vitref.backends.numba_kernels.shares import Share
from vitref.backends.numba_kernels.team import Team

AMPLIFICATION = 32
"""A LayerNorm divides the rounding of earlier steps by the deviation of its row, which may be small."""


class Case(NamedTuple):
    batch: int = 2
    tokens: int = 7
    heads: int = 3
    head_dim: int = 4
    width: int = 10
    hidden: int = 9
    activation: str = "gelu"
    qkv_bias: bool = True
    scaled: bool = False
    seed: int = 0

    @property
    def static(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("heads", "activation", "qkv_bias", "scaled")}
        return {**own, "eps": 1e-6, "rate": 0.0, "attention_rate": 0.0, "path_rate": 0.0}


LONG = Case(batch=1, tokens=700, head_dim=3, width=6, hidden=5, scaled=True)
"""So many keys that the queries of one head make several blocks."""

Arrays = Mapping[str, HostArray]


def arrays(case: Case, dtype: str = "float64") -> dict[str, HostArray]:
    """Parameters, "x" and "dy", all random and read-only, affine weights about 1."""
    inner, rng = case.heads * case.head_dim, np.random.default_rng(case.seed)
    shapes: dict[str, tuple[int, ...]] = {
        "attn.qkv.weight": (3 * inner, case.width),
        "attn.qkv.bias": (3 * inner,),
        "attn.proj.weight": (case.width, inner),
        "mlp.fc1.weight": (case.hidden, case.width),
        "mlp.fc1.bias": (case.hidden,),
        "mlp.fc2.weight": (case.width, case.hidden),
        "x": (case.batch, case.tokens, case.width),
        "dy": (case.batch, case.tokens, case.width),
    }
    missing = block.absent(**case.static)
    made = {}
    for name in ("x", "dy", *(name for name in block.PARAMS if name not in missing)):
        shape = shapes.get(name, (case.width,))
        values = rng.standard_normal(shape)
        if name.endswith(".weight"):
            values = 1.5 * values / np.sqrt(shape[-1]) if len(shape) > 1 else 1 + 0.5 * values
        made[name] = values.astype(dtype)
        made[name].setflags(write=False)
    return made


def kernel(threads: int = 2, together: int | None = None) -> Any:
    return bound(block, team=Team(threads), together=together)


def passes(given: Arrays, case: Case, part: Any = None, **options: Any) -> dict[str, HostArray]:
    """y, dx and every gradient: by this kernel, or by the reference where it is None."""
    run = Run(
        {f"b.{name}": a for name, a in given.items() if name not in ("x", "dy")},
        kernels={} if part is None else {"block": part},
        **options,
    )
    t = Trace(run)
    with limited():
        y = t.step("b", reference, given["x"], **case.static)
        dx = t.undo("b", given["dy"])
    run.finish()
    assert run.ran["b"] == "kernel" if part else "b.norm1" in run.ran
    return {"y": y, "dx": dx} | {name.removeprefix("b."): a for name, a in run.gradients.items()}


def inferred(given: Arrays, case: Case, part: Any, workspace: Any = None) -> HostArray:
    run = Run({f"b.{name}": a for name, a in given.items()}, kernels={"block": part}, keep=False)
    run.workspace = workspace
    with limited():
        y: HostArray = Trace(run).step("b", reference, given["x"], **case.static)
    return y


def poisoned() -> Workspace:
    """Buffers that are NaN at first."""
    return Workspace(lambda shape, dtype: np.full(shape, np.nan, dtype))


def errors(found: Arrays, expected: Arrays) -> dict[str, float]:
    assert found.keys() == expected.keys()
    return {
        name: float(np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name]))
        for name in expected
    }


def assert_close(found: Arrays, given: Arrays, case: Case, dtype: str) -> None:
    """To the reference in float64 on the same numbers."""
    expected = passes({name: a.astype("float64") for name, a in given.items()}, case)
    assert {a.dtype.name for a in found.values()} == {dtype}
    bound = AMPLIFICATION * tolerance(dtype, sum(a.size for a in given.values()))
    wrong = {name: error for name, error in errors(found, expected).items() if not error < bound}
    assert wrong == {}


# Equality with the reference


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    return Case(
        batch=size(1, 5),
        tokens=size(2, 20),
        heads=size(1, 5),
        head_dim=size(1, 6),
        width=size(3, 12),
        hidden=size(1, 13),
        activation=draw(st.sampled_from(["gelu", "gelu_tanh"])),
        qkv_bias=draw(st.booleans()),
        scaled=draw(st.booleans()),
        seed=size(0, 2**32 - 1),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@hypothesis.given(case=cases(), threads=st.integers(1, 4), together=st.sampled_from([None, 1, 2]))
def test_numbers_are_those_of_the_reference(
    dtype: str, case: Case, threads: int, together: int | None
) -> None:
    given, part = arrays(case, dtype), kernel(threads, together)
    found = passes(given, case, part, workspace=poisoned())
    assert_close(found, given, case, dtype)
    assert np.array_equal(inferred(given, case, part, poisoned()), found["y"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_queries_of_a_long_sequence_come_in_blocks(dtype: str, threads: int, batch: int) -> None:
    case = LONG._replace(batch=batch)
    assert heads.block_size(case.tokens)[1] < case.tokens
    given = arrays(case, dtype)
    assert_close(passes(given, case, kernel(threads), workspace=poisoned()), given, case, dtype)


def test_a_slow_thread_finds_its_images_until_it_has_used_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images one after the other in the same buffers, each by both threads."""
    case = Case(batch=3)

    def slow(share: Share, *arrays: Any) -> None:
        if share.part == 1:
            time.sleep(0.02)
        add_branch(share, *arrays)

    monkeypatch.setattr(shares, "ROWS", 1)
    given, part = arrays(case), kernel(2)
    expected = passes(given, case, part)
    monkeypatch.setattr(block_forward, "add_branch", slow)
    found = passes(given, case, part)
    assert [name for name in expected if not np.array_equal(found[name], expected[name])] == []
    assert np.array_equal(inferred(given, case, part), expected["y"])


@pytest.mark.parametrize("block_size", [30, 49, 100, 10**6])
def test_blocks_of_any_size_give_the_same(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of a head, exactly one head, two heads of three, all heads."""
    monkeypatch.setattr(heads, "BLOCK", block_size)
    given = arrays(Case())
    assert_close(passes(given, Case(), kernel()), given, Case(), "float64")


@pytest.mark.parametrize("tokens", [250, 256, 511])
def test_rows_that_are_padded_and_rows_that_are_not(tokens: int) -> None:
    case = Case(tokens=tokens)
    given = arrays(case)
    assert_close(passes(given, case, kernel()), given, case, "float64")


def test_groups_of_images_need_not_be_equal() -> None:
    """A group of one image has padded rows, one of two images does not."""
    case = Case(batch=3, tokens=8, width=3, hidden=2)
    given = arrays(case)
    assert_close(passes(given, case, kernel(1, 2)), given, case, "float64")


@pytest.mark.parametrize("layout", ["strided", "reversed axes"])
def test_inputs_and_parameters_of_any_layout(layout: str) -> None:
    given = arrays(Case(scaled=True))
    other = {
        name: strided(a) if layout == "strided" else np.array(a.T, order="C").T for name, a in given.items()
    }
    found, plain = passes(other, Case(scaled=True), kernel()), passes(given, Case(scaled=True), kernel())
    bound = AMPLIFICATION * tolerance("float64", sum(a.size for a in given.values()))
    assert max(errors(found, plain).values()) < bound


def strided(a: HostArray) -> HostArray:
    wide = np.full([2 * n for n in a.shape], np.nan)
    every_second = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    every_second[...] = a
    return every_second


# Bits


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_a_pass_can_be_repeated_bit_by_bit(dtype: str, batch: int) -> None:
    case = Case(batch=batch, tokens=33, scaled=True)
    given, part = arrays(case, dtype), kernel(2)
    first = passes(given, case, part)
    for workspace in (None, poisoned()):
        again = passes(given, case, part, workspace=workspace)
        assert [name for name in first if not np.array_equal(first[name], again[name])] == []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_with_one_image_in_a_product_an_image_does_not_depend_on_the_others(dtype: str) -> None:
    case = Case(batch=5, tokens=33, head_dim=7, width=30, hidden=33, scaled=True)
    given = arrays(case, dtype)
    alone = [
        passes({**given, "x": given["x"][i : i + 1], "dy": given["dy"][i : i + 1]}, case, kernel(1, 1))
        for i in range(5)
    ]
    for threads, batch in [(1, 5), (2, 2), (2, 5), (3, 4), (7, 5)]:
        some = {**given, "x": given["x"][:batch], "dy": given["dy"][:batch]}
        found = passes(some, case, kernel(threads, 1))
        for i in range(batch):
            assert np.array_equal(found["y"][i], alone[i]["y"][0])
            assert np.array_equal(found["dx"][i], alone[i]["dx"][0])


# Memory


def test_results_of_an_earlier_call_stay_as_they_were() -> None:
    """Two models and two calls in one workspace; backward twice from what was kept without one."""
    part, workspace, case = kernel(), poisoned(), Case(scaled=True)
    first, second = arrays(case), arrays(case._replace(seed=1))
    kept = passes(first, case, part, workspace=workspace)
    copies = {name: a.copy() for name, a in kept.items()}
    other = passes(second, case, part, workspace=workspace)
    assert [name for name in kept if not np.array_equal(kept[name], copies[name])] == []
    assert not any(
        np.shares_memory(a, b) for a in (*kept.values(), *other.values()) for b in buffers(workspace)
    )
    assert max(errors(other, passes(second, case, part)).values()) == 0


def buffers(workspace: Workspace) -> list[Any]:
    assert workspace.buffers
    return list(workspace.buffers.values())


def test_two_blocks_keep_what_each_of_them_saved() -> None:
    case, given = Case(), arrays(Case())
    workspace, parameters = poisoned(), {k: v for k, v in given.items() if k not in ("x", "dy")}

    def both(kernels: dict[str, Any], workspace: Any) -> Run:
        named = {f"{b}.{name}": a for b in ("one", "two") for name, a in parameters.items()}
        run = Run(named, kernels=kernels, workspace=workspace)
        t = Trace(run)
        x = t.step("one", reference, given["x"], **case.static)
        t.step("two", reference, x, **case.static)
        run.gradients["x"] = t.undo("one", t.undo("two", given["dy"]))
        return run

    found, expected = both({"block": kernel()}, workspace), both({}, None)
    bound = AMPLIFICATION**2 * tolerance("float64", sum(a.size for a in given.values()))
    assert max(errors(found.gradients, expected.gradients).values()) < bound


def test_backward_without_workspace_may_be_repeated() -> None:
    case, given = Case(), arrays(Case())
    part = kernel()
    values = [given.get(name) for name in block.PARAMS]
    with limited():
        _, saved = part.forward(given["x"], *values, **case.static, xp=np, ws=None, keep=True)
        first, second = (part.backward(given["dy"], saved, xp=np, ws=None) for _ in range(2))
        assert part.forward(given["x"], *values, **case.static, xp=np, ws=None, keep=False)[1] is None
    for a, b in zip(first, second, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (np.array_equal(a, b) and not np.shares_memory(a, b))


def test_gradients_are_written_where_the_caller_wants_them() -> None:
    given, part = arrays(Case()), kernel()
    expected = passes(given, Case(), part)
    outs = {f"b.{name}": np.full(a.shape, np.nan) for name, a in given.items() if name not in ("x", "dy")}
    workspace = poisoned()
    workspace.begin(True, outs)
    found = passes(given, Case(), part, workspace=workspace)
    for name, out in outs.items():
        assert found[name.removeprefix("b.")] is out
        assert np.array_equal(out, expected[name.removeprefix("b.")])


# Bad numbers, and what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_number_that_is_not_finite_spoils_its_image_and_no_other(value: float, dtype: str) -> None:
    given = arrays(Case(batch=3), dtype)
    x = given["x"].copy()
    x[1, 2, 3] = value
    for part in (kernel(2), kernel(3)):
        found = passes({**given, "x": x}, Case(batch=3), part)
        for name in ("y", "dx"):
            finite = np.isfinite(found[name]).all(axis=(1, 2))
            assert finite.tolist() == [True, False, True]
            assert np.isnan(found[name][1]).all()
        assert np.isnan(found["mlp.fc1.weight"]).all()


@pytest.mark.parametrize("rate", ["rate", "attention_rate", "path_rate"])
def test_dropout_is_refused(rate: str) -> None:
    given = arrays(Case())
    assert kernel().refuses(given["x"], **Case().static) is None
    assert "drop" in (kernel().refuses(given["x"], **{**Case().static, rate: 0.1}) or "").lower()


@pytest.mark.parametrize("dtype", ["float16", "int64", "complex128"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    assert dtype in (kernel().refuses(arrays(Case())["x"].astype(dtype), **Case().static) or "")


def test_a_tap_inside_runs_the_reference() -> None:
    given = arrays(Case())
    run = Run(
        {f"b.{k}": v for k, v in given.items()},
        kernels={"block": kernel()},
        record=frozenset({"b.attn.softmax"}),
    )
    Trace(run).step("b", reference, given["x"], **Case().static)
    assert run.ran["b"] == "reference (b.attn.softmax was asked for)"
    assert run.taps["b.attn.softmax"].shape == (2, 3, 7, 7)
