"""Names of modules as taps, for the libraries that are known, and as they are for all others."""

import numpy as np
import pytest

from vitref.config import Config
from vitref.verify.capture.naming import ByModule, ByTap, naming_of
from vitref.verify.probes import BASE

CONFIG = Config(**BASE)


@pytest.mark.parametrize(
    ("library", "name", "tap"),
    [
        ("timm", "blocks.1", "blocks.1"),
        ("timm", "blocks.0.attn.softmax", "blocks.0.attn.softmax"),
        ("timm", "blocks.0.mlp.act", "blocks.0.mlp.act"),
        ("timm", "output", "logits"),
        ("huggingface", "vit.layers.1.attention.1", "blocks.1.attn.softmax"),
        ("huggingface", "vit.layers.1.attention.0", "blocks.1.attn"),
        ("huggingface", "vit.encoder.layer.1.attention.attention.context", "blocks.1.attn.context"),
        ("huggingface", "output.last_hidden_state", "tokens"),
        ("huggingface", "vit.layers.0.dropout", None),
        ("huggingface", "vit.layers.0.mlp.scores", None),
        ("torchvision", "encoder.layers.encoder_layer_0.self_attention.q", "blocks.0.attn.q"),
        ("torchvision", "encoder.layers.encoder_layer_0.mlp.1", "blocks.0.mlp.act"),
        ("torchvision", "encoder.layers.encoder_layer_0.self_attention.0", "blocks.0.attn"),
        ("torchvision", "nothing.of.the.kind", None),
    ],
)
def test_taps(library: str, name: str, tap: str | None) -> None:
    found = ByTap(library, CONFIG).place(name)
    assert (found.tap if found else None) == tap


@pytest.mark.parametrize(
    ("name", "tap"),
    [
        ("vit.layers.1.layernorm_after", "blocks.1.add1"),
        ("vit.layers.1.attention.o_proj", "blocks.1.attn.merge"),
        ("classifier", "head_input"),
        ("vit.layers.1.layernorm_before", None),
        ("", None),
    ],
)
def test_what_enters(name: str, tap: str | None) -> None:
    found = ByTap("huggingface", CONFIG).entering(name)
    assert (found.tap if found else None) == tap


def test_layout_is_vitrefs() -> None:
    array = np.arange(2 * 6 * 2 * 3.0).reshape(2, 6, 2, 3)
    found = ByTap("timm", CONFIG).place("patch_embed.proj")
    assert found is not None
    assert np.array_equal(found(array), array.reshape(2, 6, 6).transpose(0, 2, 1))


def test_other_models_keep_their_names() -> None:
    naming = ByModule("logits")
    for name, tap in {"output": "logits", "output.1": "output.1", "enc.3.att#1": "enc.3.att#1"}.items():
        found = naming.place(name)
        assert found is not None
        assert found.tap == tap


def test_a_known_model_inside_another() -> None:
    modules = [
        ("", "mine"),
        ("net", "timm"),
        ("net.blocks", "torch"),
        ("net.blocks.0", "timm"),
        ("neck", "mine"),
    ]
    naming = naming_of(modules, CONFIG)
    assert naming.library == "timm"
    place, left_out = naming.place("net.blocks.0"), naming.place("neck")
    assert place is not None
    assert (place.tap, left_out) == ("blocks.0", None)
    assert naming_of(modules, None).library is None


def test_parts_of_a_library_are_no_model() -> None:
    assert naming_of([("", "mine"), ("patch", "timm"), ("patch.proj", "torch")], CONFIG).library is None


def test_gradients_are_stacked() -> None:
    parts = {
        f"net.vit.layers.0.attention.{part}_proj.weight": np.full((12, 6), value)
        for value, part in enumerate("qkv")
    }
    naming = ByTap("huggingface", CONFIG, "net.")
    found = dict(naming.gradients(parts))
    assert list(found) == ["blocks.0.attn.qkv.weight"]
    assert found["blocks.0.attn.qkv.weight"][:, 0].tolist() == [0] * 12 + [1] * 12 + [2] * 12
    parts.popitem()
    assert dict(naming.gradients(parts)) == {}
