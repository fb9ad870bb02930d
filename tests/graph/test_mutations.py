"""Do the tests of the graph notice a wrong graph? One planted mistake per row of `MISTAKES`.

A row changes lines of a composite's source; the changed composite takes the place of the original as
a kernel. A mistake in both directions that agrees with itself shows in the oracle alone ("forward"),
one of the backward pass in the complex step alone ("gradient").
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import vitref.graph
from tests.graph.checks import problems
from tests.graph.models import MODELS
from vitref.graph import attention, attention_core, block, embed, head, mlp, pre_logits, supervised, vit
from vitref.verify.mistakes import edit


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

PROJECTED = 'dx = t.undo("patch_embed.proj", dx)'
TOKEN_FIRST = f'dx = t.undo("cls_token", dx)\n    {PROJECTED}'
"""Where the class token is undone after the positions."""

DROP1 = """if rate:
        x = t.step("drop1", dropout, x, mask=t.mask("drop1", x.shape, rate), rate=rate)"""
POS_DROP = """if rate:
        x = t.step("pos_drop", dropout, x, mask=t.mask("pos_drop", x.shape, rate), rate=rate)"""
HEAD_DROP = """if rate:
        x = t.step("head_drop", dropout, x, mask=t.mask("head_drop", x.shape, rate), rate=rate)"""
PRE_LOGITS = """if config.pre_logits:
        x = t.step("pre_logits", pre_logits, x)
    x = t.step("pooled", identity, x)"""
ATTN_DROP = """p = t.step("softmax", softmax, s)
    if rate:
        p = t.step("attn_drop", dropout, p, mask=t.mask("attn_drop", p.shape, rate), rate=rate)"""
SCORES_DROP = """if rate:
        s = t.step("attn_drop", dropout, s, mask=t.mask("attn_drop", s.shape, rate), rate=rate)
    p = t.step("softmax", softmax, s)"""
LINEAR_TANH = """x = t.step("fc", linear, x)
    return t.step("act", tanh, x)"""

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
            [f'{TOKEN_FIRST} -> dx = t.undo("cls_token", None)\n    {PROJECTED}']),
    Mistake(embed, "image without gradient", GRADIENT,
            ['return t.undo("patch_embed.unfold", dx) -> return t.undo("patch_embed.unfold", None)']),
    Mistake(head, "a patch for the class token", FORWARD, ["index=0 -> index=1"]),
    Mistake(head, "the last token for the class token", FORWARD, ["index=0 -> index=tokens.shape[1] - 1"]),
    Mistake(head, "head without bias", {"forward", "keys"},
            ['x = t.step("head", linear, x) -> x = t.step("head", linear, x, absent=("bias",))']),
    Mistake(head, "cotangent of the logits dropped", GRADIENT,
            ['dx = t.undo("head", dx) -> dx = t.undo("head", None)']),
    Mistake(vit, "links in their order on the way back", ORDER,
            ["in reversed(chain(config, train)) -> in chain(config, train)"]),
    Mistake(vit, "blocks in reverse", FORWARD,
            ["for i in range(config.depth)) -> for i in reversed(range(config.depth)))"]),
    Mistake(vit, "last block left out", {"forward", "keys"},
            ["for i in range(config.depth)) -> for i in range(config.depth - 1))"]),
    Mistake(head, "no final norm", {"forward", "keys"},
            ['x = t.step("norm", layer_norm, x, eps=config.eps) -> pass', 'dx = t.undo("norm", dx) -> pass']),
    Mistake(head, "another eps in the final norm", FORWARD,
            ['t.step("norm", layer_norm, x, eps=config.eps) -> t.step("norm", layer_norm, x, eps=1e-5)']),
    Mistake(head, "norm after pooling, other tokens without cotangent", {"refused"},
            ['x = t.step("norm", layer_norm, x, -> x = t.step("norm", layer_norm, x[:, :1],']),
    Mistake(supervised, "loss counted twice", GRADIENT,
            ['t.undo("", dlogits) -> t.undo("", dlogits + dlogits)'], model="labelled"),
    Mistake(supervised, "labels of other images", FORWARD,
            ["logits, labels=labels) -> logits, labels=labels[::-1])"], model="labelled"),
    Mistake(block, "LayerScale left out", {"forward", "keys"},
            ['a = t.step("ls1", layer_scale, a) -> pass', 'da = t.undo("ls1", da) -> pass'], model="bare"),
    Mistake(block, "LayerScale not undone", GRADIENT,
            ['dm = t.undo("ls2", dm) -> t.undo("ls2", dm)'], model="bare"),
    Mistake(block, "LayerScale after the residual", FORWARD,
            ['a = t.step("ls1", layer_scale, a) -> pass', 'da = t.undo("ls1", da) -> pass',
             'x = t.step("add1", add, x, a) -> x = t.step("ls1", layer_scale, t.step("add1", add, x, a))',
             'dx, da = t.undo("add1", dx) -> dx, da = t.undo("add1", t.undo("ls1", dx))'], model="bare"),
    Mistake(block, "one DropPath mask for both branches", FORWARD,
            ['t.mask("drop_path2", m -> t.mask("drop_path1", m'], model="training"),
    Mistake(block, "DropPath without its scale", FORWARD,
            ["drop_path, a, mask=mask, rate=path_rate) -> drop_path, a, mask=mask, rate=0.0)"],
            model="training"),
    Mistake(block, "DropPath not undone", GRADIENT,
            ['dm = t.undo("drop_path2", dm) -> t.undo("drop_path2", dm)'], model="training"),
    Mistake(block, "DropPath forgotten on the way back", ORDER,
            ['dm = t.undo("drop_path2", dm) -> pass'], model="training"),
    Mistake(mlp, "dropped before the activation", FORWARD,
            [f'x = t.step("act", gelu, x, form=FORMS[activation])\n    {DROP1} -> '
             f'{DROP1}\n    x = t.step("act", gelu, x, form=FORMS[activation])',
             'dy = t.undo("drop1", dy)\n    dy = t.undo("act", dy) -> '
             'dy = t.undo("act", dy)\n    dy = t.undo("drop1", dy)'], model="training"),
    Mistake(mlp, "dropout not undone", GRADIENT,
            ['dy = t.undo("drop2", dy) -> t.undo("drop2", dy)'], model="training"),
    Mistake(mlp, "the same bits at both places", {"refused"},
            ['mask=t.mask("drop2", x.shape -> mask=t.mask("drop1", (*x.shape[:-1], 8)'], model="training"),
    Mistake(attention, "the rate of the weights for the projection", FORWARD,
            ['t.mask("proj_drop", y.shape, rate), rate=rate -> '
             't.mask("proj_drop", y.shape, attention_rate), rate=attention_rate'], model="training"),
    Mistake(attention, "dropout of the projection not undone", GRADIENT,
            ['dy = t.undo("proj_drop", dy) -> t.undo("proj_drop", dy)'], model="training"),
    Mistake(attention_core, "scores dropped instead of weights", FORWARD,
            [f'{ATTN_DROP} -> {SCORES_DROP}',
             'dp = t.undo("attn_drop", dp)\n    ds = t.undo("softmax", dp) -> '
             'dp = t.undo("softmax", dp)\n        ds = t.undo("attn_drop", dp)'],
            model="training"),
    Mistake(attention_core, "dropout of the weights not undone", GRADIENT,
            ['dp = t.undo("attn_drop", dp) -> t.undo("attn_drop", dp)'], model="training"),
    Mistake(embed, "class token without position, without gradient", GRADIENT,
            ['dx = t.undo("cls_token", dx)\n    dx = t.undo("pos_embed", dx) -> '
             'dx = t.undo("cls_token", None)\n    dx = t.undo("pos_embed", dx)'], model="apart"),
    Mistake(embed, "class token first, where it has no position", {"refused"},
            ["if config.class_token and config.class_position:\n        x -> if True:\n        x",
             "if config.class_token and not config.class_position:\n        x -> if False:\n        x"],
            model="apart"),
    Mistake(embed, "rows and columns of the table swapped", FORWARD,
            ['"rows": rows, "columns": columns -> "rows": columns, "columns": rows'], model="apart"),
    Mistake(embed, "row of the class token resized", {"refused"},
            ["config.position_prefix -> 0"], model="training"),
    Mistake(embed, "another recipe", FORWARD,
            ["old_rows, new_rows, config.position_resize -> old_rows, new_rows, 'bicubic'",
             "old_columns, new_columns, config.position_resize -> old_columns, new_columns, 'bicubic'"],
            model="bare"),
    Mistake(embed, "table resized only where the number of places differs", FORWARD,
            ["if config.grid == config.position_grid: -> "
             "if sorted(config.grid) == sorted(config.position_grid):"], model="bare"),
    Mistake(embed, "positions added after the dropout", FORWARD,
            [f'{POS_DROP} -> pass', 'rate:\n        dx = t.undo("pos_drop", dx) -> False:\n        pass',
             'x = t.step("patch_embed.proj", patch_projection, x) -> '
             f'x = t.step("patch_embed.proj", patch_projection, x)\n    {POS_DROP}',
             f'{PROJECTED} -> dx = t.undo("pos_drop", dx)\n    {PROJECTED}'], model="training"),
    Mistake(head, "class token counted among the patches", FORWARD, ["start = 1 -> start = 0"],
            model="training"),
    Mistake(head, "class token left out of the mean over all", FORWARD,
            ['and config.pool == "mean" else 0 -> else 0'], model="apart"),
    Mistake(head, "no norm of the pooled vector", {"forward", "keys"},
            ['x = t.step("fc_norm", layer_norm, x, eps=config.eps) -> pass',
             'dx = t.undo("fc_norm", dx) -> pass'], model="bare"),
    Mistake(head, "another eps for the pooled vector", FORWARD,
            ['"fc_norm", layer_norm, x, eps=config.eps -> "fc_norm", layer_norm, x, eps=1e-3'], model="bare"),
    Mistake(head, "pre-logits left out", {"refused"},
            ['x = t.step("pre_logits", pre_logits, x) -> pass'], model="apart"),
    Mistake(head, "dropped before the pre-logits", FORWARD,
            [f"{PRE_LOGITS}\n    {HEAD_DROP} -> {HEAD_DROP}\n    {PRE_LOGITS}",
             'if rate:\n        dx = t.undo("head_drop", dx)\n    dx = t.undo("pooled", dx) -> '
             'dx = t.undo("pooled", dx)',
             'dx = t.undo("pre_logits", dx) -> dx = t.undo("head_drop", t.undo("pre_logits", dx))'],
            model="training"),
    Mistake(pre_logits, "tanh not applied, forwards", BOTH,
            [f'{LINEAR_TANH} -> x = t.step("fc", linear, x)\n    t.step("act", tanh, x)\n    return x'],
            model="apart"),
    Mistake(pre_logits, "no tanh", FORWARD,
            [f'{LINEAR_TANH} -> return t.step("fc", linear, x)', 'dy = t.undo("act", dy) -> pass'],
            model="apart"),
    Mistake(pre_logits, "tanh not undone", GRADIENT,
            ['dy = t.undo("act", dy) -> t.undo("act", dy)'], model="apart"),
    Mistake(vit, "DropPath as often in every block", FORWARD,
            ["train.drop_path_of(i, config.depth) if -> train.drop_path if"], model="training"),
    Mistake(vit, "DropPath from 1 / depth on", FORWARD,
            ["train.drop_path_of(i, config.depth) if -> train.drop_path_of(i + 1, config.depth + 1) if"],
            model="training"),
    Mistake(vit, "one rate for everything", FORWARD,
            ["train.attention_dropout if train -> train.dropout if train"], model="training"),
    Mistake(supervised, "softmax for the sigmoid loss", FORWARD, ["LOSSES[loss], -> cross_entropy,"],
            model="sigmoid"),
]  # fmt: skip


def kernel(composite: ModuleType, changes: list[str]) -> dict[str, Any]:
    """A copy of the composite with other lines, as a kernel in its place."""
    name = composite.__name__.rpartition(".")[2]
    return {name: edit.kernel(name, tuple(changes))}


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
