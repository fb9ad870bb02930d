"""Do the tests of the graph notice a wrong graph? One planted mistake per row of `MISTAKES`.

A row changes lines of a composite's source; the changed composite takes the place of the original as
a kernel. A mistake in both directions that agrees with itself shows in the oracle alone ("forward"),
one of the backward pass in the complex step alone ("gradient").
"""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import vitref.graph
from tests.graph.checks import problems
from tests.graph.models import MODELS
from vitref.graph import attention, attention_core, block, embed, head, mlp, supervised, vit


class Mistake(NamedTuple):
    """`changes`: "line as it is -> what stands there instead"; `noticed`: by these checks, no others."""

    composite: ModuleType
    what: str
    noticed: set[str]
    changes: list[str]
    model: str = "odd"


FORWARD, GRADIENT, BOTH, ORDER = {"forward"}, {"gradient"}, {"forward", "gradient"}, {"order"}

LAST = 'return t.undo("norm1", da, add=dx)'
"""The last line of a block's backward pass."""

MISTAKES = [
    Mistake(block, "residual beside the MLP dropped", GRADIENT,
            ['dx = t.undo("norm2", dm, add=dx) -> dx = t.undo("norm2", dm)']),
    Mistake(block, "residual beside the attention dropped", GRADIENT,
            [f'{LAST} -> return t.undo("norm1", da)']),
    Mistake(block, "residual beside the attention from above the MLP", GRADIENT,
            [f'{LAST} -> return t.undo("norm1", da, add=dy)']),
    Mistake(block, "residual counted twice", GRADIENT,
            [f'{LAST} -> return t.undo("norm1", da, add=dx + dx)']),
    Mistake(block, "residual added before the norm is undone", GRADIENT,
            [f'{LAST} -> return t.undo("norm1", da + dx)']),
    Mistake(block, "cotangent of the attention dropped", GRADIENT,
            ['da = t.undo("attn", da) -> da = t.undo("attn", None)']),
    Mistake(block, "cotangent of the MLP dropped", GRADIENT,
            ['dm = t.undo("mlp", dm) -> dm = t.undo("mlp", None)']),
    Mistake(block, "attention skipped on the way back", ORDER, ['da = t.undo("attn", da) -> pass']),
    Mistake(block, "undone in the order of the forward pass", ORDER,
            ['dx, dm = t.undo("add2", dy) -> dx, dm = t.undo("add1", dy)']),
    Mistake(block, "first norm never undone", ORDER, [f"{LAST} -> return da + dx"]),
    Mistake(block, "residual taken after the norm, forwards", BOTH,
            ['a = t.step("norm1" -> x = a = t.step("norm1"']),
    Mistake(block, "residual taken after the norm", FORWARD,
            ['a = t.step("norm1" -> x = a = t.step("norm1"',
             f'{LAST} -> return t.undo("norm1", da + dx)']),
    Mistake(block, "norm after the attention", FORWARD,
            ['a = t.step("attn", attention, a, -> a = t.step("attn", attention, x,',
             'a = t.step("norm1", layer_norm, x, eps=eps) -> pass',
             't.step("add1", add, x, a) -> t.step("add1", add, x, t.step("norm1", layer_norm, a, eps=eps))',
             'da = t.undo("attn", da) -> da = t.undo("norm1", da)',
             f'{LAST} -> return t.undo("attn", da, add=dx)']),
    Mistake(block, "no residual beside the MLP", FORWARD,
            ['return t.step("add2", add, x, m) -> return m', 'dx, dm = t.undo("add2", dy) -> dm = dy',
             'dx = t.undo("norm2", dm, add=dx) -> dx = t.undo("norm2", dm)']),
    Mistake(block, "eps twice as large in one norm", FORWARD,
            ['t.step("norm2", layer_norm, x, eps=eps) -> t.step("norm2", layer_norm, x, eps=2 * eps)']),
    Mistake(mlp, "the other form of GELU", FORWARD, ["form=FORMS[activation] -> form='tanh'"]),
    Mistake(mlp, "the other form of GELU, where tanh is right", FORWARD,
            ["form=FORMS[activation] -> form='erf'"], model="equal"),
    Mistake(mlp, "activation not applied", BOTH, ['x = t.step("act" -> t.step("act"']),
    Mistake(mlp, "activation not undone", GRADIENT, ['dy = t.undo("act", dy) -> t.undo("act", dy)']),
    Mistake(attention, "queries and keys swapped, forwards", BOTH,
            ["q, k, v = t.step( -> k, q, v = t.step("]),
    Mistake(attention, "queries and keys swapped", FORWARD,
            ["q, k, v = t.step( -> k, q, v = t.step(", "(dq, dk, dv) -> (dk, dq, dv)"]),
    Mistake(attention, "cotangents of queries and keys swapped", GRADIENT, ["(dq, dk, dv) -> (dk, dq, dv)"]),
    Mistake(attention, "cotangent of the queries dropped", GRADIENT, ["(dq, dk, dv) -> (None, dk, dv)"]),
    Mistake(attention, "cotangent of the values dropped", GRADIENT, ["(dq, dk, dv) -> (dq, dk, None)"]),
    Mistake(attention, "bias left out", {"forward", "keys"},
            ['absent=() if qkv_bias else ("bias",) -> absent=("bias",)']),
    Mistake(attention, "bias where there is none", {"refused"},
            ['absent=() if qkv_bias else ("bias",) -> absent=()'], model="equal"),
    Mistake(attention_core, "scores transposed, forwards", BOTH, ["scores, q, k) -> scores, k, q)"]),
    Mistake(attention_core, "scores transposed", FORWARD,
            ["scores, q, k) -> scores, k, q)", "dq, dk = t.undo( -> dk, dq = t.undo("]),
    Mistake(attention_core, "softmax not applied", BOTH, ["context, p, v) -> context, s, v)"]),
    Mistake(attention_core, "softmax not undone", GRADIENT,
            ['dq, dk = t.undo("scores", ds) -> dq, dk = t.undo("scores", dp)']),
    Mistake(attention_core, "keys averaged instead of values", BOTH, ["context, p, v) -> context, p, k)"]),
    Mistake(embed, "no positions", {"forward", "keys"},
            ['x = t.step("pos_embed", position_embedding, x) -> pass',
             'dx = t.undo("pos_embed", dx) -> pass']),
    Mistake(embed, "class token without gradient", GRADIENT,
            ['dx = t.undo("cls_token", dx) -> dx = t.undo("cls_token", None)']),
    Mistake(embed, "image without gradient", GRADIENT,
            ['return t.undo("patch_embed.unfold", dx) -> return t.undo("patch_embed.unfold", None)']),
    Mistake(head, "a patch for the class token", FORWARD, ["index=0 -> index=1"]),
    Mistake(head, "the last token for the class token", FORWARD, ["index=0 -> index=tokens.shape[1] - 1"]),
    Mistake(head, "head without bias", {"forward", "keys"},
            ['x = t.step("head", linear, x) -> x = t.step("head", linear, x, absent=("bias",))']),
    Mistake(head, "cotangent of the logits dropped", GRADIENT,
            ['dx = t.undo("head", dx) -> dx = t.undo("head", None)']),
    Mistake(vit, "blocks in reverse, forwards", ORDER,
            ["for i in range(depth): -> for i in reversed(range(depth)):"]),
    Mistake(vit, "blocks in reverse", FORWARD,
            ["for i in reversed(range(depth)): -> for i in [*range(depth)]:",
             "for i in range(depth): -> for i in reversed(range(depth)):"]),
    Mistake(vit, "last block left out", {"forward", "keys"},
            ["for i in reversed(range(depth)): -> for i in reversed(range(0, depth - 1)):",
             "for i in range(depth): -> for i in range(depth - 1):"]),
    Mistake(vit, "no final norm", {"forward", "keys"},
            ['x = t.step("norm", layer_norm, x, eps=eps) -> pass', 'dx = t.undo("norm", dx) -> pass']),
    Mistake(vit, "another eps in the final norm", FORWARD,
            ['x = t.step("norm", layer_norm, x, eps=eps) -> x = t.step("norm", layer_norm, x, eps=1e-5)']),
    Mistake(vit, "norm after pooling, other tokens without cotangent", {"refused"},
            ['x = t.step("norm", layer_norm, x, -> x = t.step("norm", layer_norm, x[:, :1],']),
    Mistake(supervised, "loss counted twice", GRADIENT,
            ['t.undo("", dlogits) -> t.undo("", dlogits + dlogits)'], model="labelled"),
    Mistake(supervised, "labels of other images", FORWARD,
            ["logits, labels=labels) -> logits, labels=labels[::-1])"], model="labelled"),
]  # fmt: skip


def changed(composite: ModuleType, changes: list[str]) -> Any:
    """A copy of the composite with other lines, to be used as a kernel."""
    source = inspect.getsource(composite)
    for change in changes:
        old, new = change.split(" -> ")
        assert source.count(old) == 1, f"{composite.__name__} has no one line {old!r}"
        source = source.replace(old, new)
    copy: Any = ModuleType(composite.__name__)
    exec(compile(source, copy.__name__, "exec"), copy.__dict__)
    copy.HIDES, copy.refuses = (), lambda *inputs, **static: None
    return copy


def kernel(composite: ModuleType, changes: list[str]) -> dict[str, Any]:
    return {composite.__name__.rpartition(".")[2]: changed(composite, changes)}


NAMES = [found.name for found in pkgutil.iter_modules(vitref.graph.__path__, "vitref.graph.")]
COMPOSITES = [importlib.import_module(name) for name in NAMES]


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_the_unchanged_graph_has_no_problems(model: Any) -> None:
    assert problems(model) == set()


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda composite: composite.__name__)
def test_an_unchanged_copy_has_no_problems(composite: ModuleType) -> None:
    assert problems(MODELS["labelled"], kernels=kernel(composite, [])) == set()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.composite.__name__}: {m.what}")
def test_a_planted_mistake_is_noticed(mistake: Mistake) -> None:
    found = problems(MODELS[mistake.model], kernels=kernel(mistake.composite, mistake.changes))
    assert found == mistake.noticed


def test_every_composite_has_a_mistake() -> None:
    assert {mistake.composite.__name__ for mistake in MISTAKES} == {module.__name__ for module in COMPOSITES}
