"""Taps: the contract of names, their shapes, the arrays they share, and every cotangent by complex step."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.graph.checks import above, final, random_cotangents, rounding, take
from tests.graph.models import MODELS, Model, models, tap_names
from vitref.testing import adjoint_error, random_like

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def everything(model: Model, dy: Any = None) -> dict[str, Any]:
    run, t = take(model, record=None)
    t.undo("", dy)
    run.finish()
    return run.taps


@given(models())
def test_every_named_output_is_recorded_forwards_and_backwards(model: Model) -> None:
    names = tap_names(model)
    taps = everything(model)
    assert list(taps)[: len(names)] == names
    assert set(taps) == {*names, *(f"{name}:dy" for name in names)}
    assert all(taps[f"{name}:dy"].shape == taps[name].shape for name in names)


def test_the_names_of_a_model_are_these() -> None:
    names = everything(MODELS["labelled"])
    assert [name for name in names if not name.startswith("blocks.") and ":" not in name] == [
        "image", "patch_embed.unfold", "patch_embed.proj", "cls_token", "pos_embed", "embed",
        "norm", "tokens", "pool", "pooled", "head_input", "head", "logits", "loss",
    ]  # fmt: skip
    assert [name for name in names if name.startswith("blocks.1") and ":" not in name] == [
        "blocks.1.norm1",
        "blocks.1.attn.qkv", "blocks.1.attn.q", "blocks.1.attn.k", "blocks.1.attn.v",
        "blocks.1.attn.scores", "blocks.1.attn.softmax", "blocks.1.attn.context",
        "blocks.1.attn.merge", "blocks.1.attn.proj", "blocks.1.attn", "blocks.1.add1",
        "blocks.1.norm2", "blocks.1.mlp.fc1", "blocks.1.mlp.act", "blocks.1.mlp.fc2", "blocks.1.mlp",
        "blocks.1.add2", "blocks.1",
    ]  # fmt: skip


@given(models())
def test_shapes_are_those_of_the_config(model: Model) -> None:
    c, n = model.config, len(model.arrays["image"])
    taps = take(model, record=None)[0].taps
    tokens, patches = c.grid[0] * c.grid[1] + c.class_token, c.grid[0] * c.grid[1]
    endings: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("q", "k", "v", "context"), (n, c.heads, tokens, c.head_dim)),
        **dict.fromkeys(("scores", "softmax", "attn_drop"), (n, c.heads, tokens, tokens)),
        **dict.fromkeys(("fc1", "act", "drop1"), (n, tokens, c.mlp_width)),
        "qkv": (n, tokens, 3 * c.heads * c.head_dim),
        "merge": (n, tokens, c.heads * c.head_dim),
    }
    shapes = {
        "image": (n, c.channels, *c.image_size),
        "patch_embed.unfold": (n, patches, c.channels * c.patch_size[0] * c.patch_size[1]),
        "patch_embed.proj": (n, patches, c.width),
        **dict.fromkeys(("pool", "fc_norm"), (n, c.width)),
        **dict.fromkeys(("pooled", "head_drop", "head_input"), (n, c.pre_logits or c.width)),
        **dict.fromkeys(("pre_logits.fc", "pre_logits.act", "pre_logits"), (n, c.pre_logits)),
        **dict.fromkeys(("head", "logits"), (n, c.classes)),
        "loss": (),
    }
    if not c.class_position:
        shapes["pos_embed"] = (n, patches, c.width)
    for name, tap in taps.items():
        ending = name.rpartition(".")[2] if name.startswith("blocks.") else ""
        assert tap.shape == shapes.get(name, endings.get(ending, (n, tokens, c.width))), name


@every_model
def test_names_of_one_value_share_the_array(model: Model) -> None:
    taps = everything(model)
    last = f"blocks.{model.config.depth - 1}"
    pairs = [("embed", "pos_embed"), ("tokens", "norm"), ("pooled", "pool"), ("head_input", "pool")]
    if model.train:
        pairs = [("embed", "pos_drop"), ("tokens", "norm"), ("head_input", "head_drop")]
    elif model.config.final_norm == "pooled":
        pairs = [("tokens", last), ("pooled", "fc_norm"), ("head_input", "pooled")]
    elif not model.config.class_position:
        pairs = [("embed", "cls_token"), ("pre_logits", "pre_logits.act"), ("head_input", "pre_logits")]
    pairs += [("logits", "head")] if model.config.classes else []
    for i in range(model.config.depth):
        ends = ("proj_drop", "drop2") if model.train else ("proj", "fc2")
        steps = (("", ".add2"), (".attn", f".attn.{ends[0]}"), (".mlp", f".mlp.{ends[1]}"))
        pairs += [(f"blocks.{i}{a}", f"blocks.{i}{b}") for a, b in steps]
    assert taps["image"] is model.arrays["image"]
    assert all(taps[a] is taps[b] for a, b in pairs)


@every_model
def test_every_recorded_cotangent_is_the_derivative(model: Model) -> None:
    """The final output with `tap + i h v` injected for the steps after it, against <tap:dy, v>."""
    dy = random_cotangents(model, [final(model)], seed=7)[final(model)]
    taps, rng, errors = everything(model, dy), np.random.default_rng(8), dict[str, float]()
    names = tap_names(model)
    for name in names:

        def injected(value: Any, name: str = name) -> Any:
            run, t = take(model, keep=False, inject={name: value}, record=frozenset({final(model)}))
            return value if name == final(model) else run.taps[final(model)]

        moved = np.asarray(taps[name])
        errors[name] = adjoint_error(injected, moved, random_like(moved, rng), dy, taps[f"{name}:dy"])
    assert above(errors, rounding(model)) == {}
    assert all(taps[f"{name}:dy"].any() for name in names)
