"""timm's options: what its tensors show, what its config.json says, and what must be said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref import conventions
from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.weights import Weights, load
from vitref.weights.files import load_tensors, save_tensors

GIVEN: dict[str, Any] = {"heads": 2, "convention": "timm"}


def made(**changed: Any) -> Config:
    values: dict[str, Any] = {
        "image_size": 12,
        "patch_size": 4,
        "width": 12,
        "depth": 2,
        "heads": 2,
        "mlp_width": 24,
        "classes": 7,
    }
    return Config.variant("ViT-Ti/16", convention="timm", **{**values, **changed})


def drawn(config: Config) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    return {name: rng.normal(size=shape).astype("f4") for name, shape in config.parameter_shapes().items()}


def write(folder: Path, config: Config, model_args: dict[str, Any] | None = None, **top: Any) -> Path:
    """The tensors of such a model, and a config.json that says `model_args`, unless they are None."""
    save_tensors(folder / "model.safetensors", drawn(config), {})
    if model_args is not None:
        sizes = {"img_size": 12, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
        content = {"architecture": "made_up", "num_classes": 7, "model_args": {**sizes, **model_args}, **top}
        content["pretrained_cfg"] = {"input_size": [3, 12, 12]}
        (folder / "config.json").write_text(json.dumps(content))
    return folder


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"global_pool": "token"}),
    ({"pool": "mean", "final_norm": "pooled"}, {"global_pool": "avg"}),
    ({"pool": "mean"}, {"global_pool": "avg", "fc_norm": False}),
    ({"pool": "mean_all"}, {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True}),
    ({"pool": "token", "final_norm": "pooled"}, {"global_pool": "token", "fc_norm": True}),
    (
        {"pool": "mean", "final_norm": "pooled", "class_token": False},
        {"global_pool": "avg", "class_token": False},
    ),
    ({"class_position": False}, {"global_pool": "token", "no_embed_class": True}),
    ({"layer_scale": True}, {"global_pool": "token", "init_values": 1e-5}),
    ({"qkv_bias": False}, {"global_pool": "token", "qkv_bias": False}),
    ({"activation": "gelu_tanh"}, {"global_pool": "token", "act_layer": "gelu_tanh"}),
]


@pytest.mark.parametrize(("changed", "arguments"), OPTIONS)
def test_the_config_file_says_the_options(
    tmp_path: Path, changed: dict[str, Any], arguments: dict[str, Any]
) -> None:
    config = made(**changed)
    weights = load(write(tmp_path, config, arguments))
    assert weights.config == config
    provenance = dict(weights.source.provenance)
    assert "'made_up' in config.json is not one that is known here" in provenance.pop("config.json")
    assert set(provenance) == {*config.to_dict(), *weights.preprocessing.to_dict()}  # type: ignore[union-attr]
    weights.save(tmp_path / "again.safetensors")
    assert load(tmp_path / "again.safetensors").config == config


def test_global_pool_at_the_top(tmp_path: Path) -> None:
    config = made(pool="mean", final_norm="pooled")
    weights = load(write(tmp_path, config, {}, global_pool="avg"))
    assert weights.config == config
    assert weights.source.provenance["pool"] == "config.json: global_pool"


@pytest.mark.parametrize(
    ("changed", "arguments", "found"),
    [
        ({}, {"class_token": False, "global_pool": "avg"}, "class_token False"),
        ({"class_token": False, "pool": "mean"}, {"class_token": True}, "missing cls_token"),
        ({}, {"init_values": 1e-5}, "layer_scale True (config.json: model_args.init_values), but False"),
        ({"layer_scale": True}, {"init_values": 0.0}, "layer_scale False"),
        ({}, {"fc_norm": True}, "final_norm 'pooled' (config.json: model_args.fc_norm), but 'tokens'"),
        ({}, {"no_embed_class": True}, "10 positions by the tensors"),
        ({"class_position": False}, {"no_embed_class": False}, "8 positions by the tensors"),
    ],
)
def test_options_that_contradict_the_tensors(
    tmp_path: Path, changed: dict[str, Any], arguments: dict[str, Any], found: str
) -> None:
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        load(write(tmp_path, made(**changed), {"global_pool": "token", **arguments}))
    if "positions" in found:
        assert "position_grid" in str(caught.value)
    else:
        assert found in caught.value.found


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"layer_scale": True},
        {"pool": "mean", "final_norm": "pooled"},
        {"pool": "mean", "class_token": False},
        {
            "pool": "mean",
            "class_token": False,
            "final_norm": "pooled",
            "layer_scale": True,
            "qkv_bias": False,
        },
        {"classes": 0},
        {"pre_logits": 5},
    ],
)
def test_a_bare_file_shows_the_options(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert load(write(tmp_path, made(**changed)), **GIVEN).config == made(**changed)


def test_a_square_table_with_a_class_token_can_be_read_in_two_ways(tmp_path: Path) -> None:
    write(tmp_path, made(class_position=False))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **GIVEN)
    assert caught.value.found.splitlines()[1:] == [
        "  class_position (whether the 9 rows are 3 x 3 patches, or 8 and the class token)"
    ]
    assert load(tmp_path, class_position=False, **GIVEN).config.position_grid == (3, 3)
    assert load(tmp_path, position_grid=(3, 3), **GIVEN).config.class_position is False
    assert load(tmp_path, position_grid=(2, 4), **GIVEN).config.class_position is True
    with pytest.raises(ConfigError, match="position_grid .*8 positions are no square"):
        load(tmp_path, class_position=True, **GIVEN)


def test_without_convention_the_pool_is_open(tmp_path: Path) -> None:
    write(tmp_path, made(pool="mean", final_norm="pooled"))
    numerics: dict[str, Any] = {"heads": 2, "eps": 1e-6, "activation": "gelu"}
    with pytest.raises(ConfigError, match="no value for\n  pool"):
        load(tmp_path, **numerics)
    assert load(tmp_path, pool="mean_all", **numerics).config.pool == "mean_all"
    assert load(tmp_path, pool="mean", **numerics).config.position_resize == ""
    assert load(tmp_path, convention="timm", heads=2).config.position_resize == "bicubic_antialias"


def test_without_class_token_nothing_is_open_about_it(tmp_path: Path) -> None:
    write(tmp_path, made(pool="mean", class_token=False))
    weights = load(tmp_path, heads=2, eps=1e-6, activation="gelu")
    assert (weights.config.pool, weights.config.class_token) == ("mean", False)
    assert weights.source.provenance["pool"] == "there is no class token"


@pytest.mark.parametrize("value", [0, None, "no", 1])
@pytest.mark.parametrize("name", ["class_token", "class_position"])
def test_a_switch_that_is_none(tmp_path: Path, name: str, value: Any) -> None:
    write(tmp_path, made())
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **GIVEN, **{name: value})
    assert caught.value.where == f"Config.{name}"


def test_part_of_the_options_is_told(tmp_path: Path) -> None:
    tensors = drawn(made(layer_scale=True, pool="mean", final_norm="pooled"))
    del tensors["blocks.1.ls2.gamma"], tensors["fc_norm.bias"]
    save_tensors(tmp_path / "m.safetensors", tensors, {})
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **GIVEN)
    assert caught.value.found.splitlines()[1:] == ["  missing blocks.1.ls2.gamma", "  missing fc_norm.bias"]


def flat(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A file of before the patch embedding was a convolution."""
    tensors = drawn(made())
    name = "patch_embed.proj.weight"
    save_tensors(folder / "model.safetensors", {**tensors, name: tensors[name].reshape(12, -1)}, {})
    return folder, tensors


def test_an_old_patch_embedding_is_reshaped(tmp_path: Path) -> None:
    path, tensors = flat(tmp_path)
    weights = load(path, patch_size=4, **GIVEN)
    assert np.array_equal(weights["patch_embed.proj.weight"], tensors["patch_embed.proj.weight"])
    note = weights.source.provenance["patch_embed.proj.weight"]
    assert note == "reshaped from (12, 48) to (12, 3, 4, 4) by the patch size (argument patch_size=4)"


@pytest.mark.parametrize("given", [{}, {"patch_size": 5}])
def test_an_old_patch_embedding_of_unknown_size_is_told(tmp_path: Path, given: dict[str, Any]) -> None:
    path, _ = flat(tmp_path)
    with pytest.raises(CheckpointError, match=r"misshapen patch_embed.proj.weight \(12, 48\)"):
        load(path, **given, **GIVEN)


def test_an_architecture_supplies_what_a_bare_file_lacks(tmp_path: Path) -> None:
    values = conventions.named_architecture("deit3_small_patch16_224").value
    config = Config.variant("ViT-S/16", convention="timm", image_size=32, **{**values, "depth": 12})
    save_tensors(
        tmp_path / "m.safetensors", {n: np.ones(s, "f2") for n, s in config.parameter_shapes().items()}, {}
    )
    weights = load(tmp_path, architecture="deit3_small_patch16_224", convention="timm")
    assert weights.config == config
    source = "argument architecture='deit3_small_patch16_224': timm/models/deit.py: deit3_small_patch16_224"
    assert weights.source.provenance["heads"] == source
    with pytest.raises(ConfigError, match="depth 12 .*vit_base_patch16_224"):
        load(
            write(tmp_path, made()) / "model.safetensors",
            architecture="vit_base_patch16_224",
            convention="timm",
        )


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224", "", 3, ["x"]])
def test_an_unknown_architecture(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, made()), architecture=name, convention="timm")
    assert caught.value.where == "architecture"


def test_bit_for_bit(tmp_path: Path) -> None:
    config = made(layer_scale=True, pool="mean", final_norm="pooled", class_position=False)
    weights = Weights(drawn(config), config)
    weights.save(tmp_path / "m.safetensors", format="timm")
    raw = load_tensors(tmp_path / "m.safetensors")[0]
    assert {name: array.tobytes() for name, array in raw.items()} == {
        n: a.tobytes() for n, a in weights.items()
    }
    assert load(tmp_path).source.sha256 == weights.source.sha256
