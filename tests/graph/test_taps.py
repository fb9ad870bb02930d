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
    names = tap_names(model.config, labelled=model.labels is not None)
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
    tokens, inner, patches = (n, c.tokens, c.width), c.heads * c.head_dim, c.tokens - 1
    per_head, pixels = (n, c.heads, c.tokens, c.head_dim), c.channels * c.patch_size[0] * c.patch_size[1]
    scores = (n, c.heads, c.tokens, c.tokens)
    shapes: dict[str, tuple[int, ...]] = {
        "image": (n, c.channels, *c.image_size),
        "patch_embed.unfold": (n, patches, pixels),
        "patch_embed.proj": (n, patches, c.width),
        **dict.fromkeys(("cls_token", "pos_embed", "embed", "norm", "tokens"), tokens),
        **dict.fromkeys(("pool", "pooled", "head_input"), (n, c.width)),
    }
    for b in (f"blocks.{i}" for i in range(c.depth)):
        steps = (b, f"{b}.norm1", f"{b}.attn.proj", f"{b}.attn", f"{b}.add1", f"{b}.norm2", f"{b}.mlp.fc2")
        shapes |= dict.fromkeys((*steps, f"{b}.mlp", f"{b}.add2"), tokens)
        shapes |= {f"{b}.attn.qkv": (n, c.tokens, 3 * inner), f"{b}.attn.merge": (n, c.tokens, inner)}
        shapes |= dict.fromkeys((f"{b}.attn.{name}" for name in ("q", "k", "v", "context")), per_head)
        shapes |= dict.fromkeys((f"{b}.attn.scores", f"{b}.attn.softmax"), scores)
        shapes |= dict.fromkeys((f"{b}.mlp.fc1", f"{b}.mlp.act"), (n, c.tokens, c.mlp_width))
    if c.classes:
        shapes |= dict.fromkeys(("head", "logits"), (n, c.classes))
    if model.labels is not None:
        shapes["loss"] = ()
    taps = take(model, record=None)[0].taps
    assert {name: tap.shape for name, tap in taps.items()} == shapes


@every_model
def test_names_of_one_value_share_the_array(model: Model) -> None:
    taps = everything(model)
    pairs = [("embed", "pos_embed"), ("tokens", "norm"), ("pooled", "pool"), ("head_input", "pool")]
    pairs += [("logits", "head")] if model.config.classes else []
    for i in range(model.config.depth):
        steps = (("", ".add2"), (".attn", ".attn.proj"), (".mlp", ".mlp.fc2"))
        pairs += [(f"blocks.{i}{a}", f"blocks.{i}{b}") for a, b in steps]
    assert taps["image"] is model.arrays["image"]
    assert all(taps[a] is taps[b] for a, b in pairs)


@every_model
def test_every_recorded_cotangent_is_the_derivative(model: Model) -> None:
    """The final output with `tap + i h v` injected for the steps after it, against <tap:dy, v>."""
    dy = random_cotangents(model, [final(model)], seed=7)[final(model)]
    taps, rng, errors = everything(model, dy), np.random.default_rng(8), dict[str, float]()
    names = tap_names(model.config, labelled=model.labels is not None)
    for name in names:

        def injected(value: Any, name: str = name) -> Any:
            run, t = take(model, keep=False, inject={name: value}, record=frozenset({final(model)}))
            return value if name == final(model) else run.taps[final(model)]

        moved = np.asarray(taps[name])
        errors[name] = adjoint_error(injected, moved, random_like(moved, rng), dy, taps[f"{name}:dy"])
    assert above(errors, rounding(model)) == {}
    assert all(taps[f"{name}:dy"].any() for name in names)
