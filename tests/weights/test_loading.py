"""Loading: who fills which field, what contradicts, what stays open, and that nothing is guessed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights, load
from vitref.weights.files import load_tensors, save_tensors

NUMERICS: dict[str, Any] = {"heads": 2, "eps": 1e-5, "activation": "gelu_tanh", "pool": "token"}

TIMM: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 7,
    "num_features": 12,
    "global_pool": "token",
    "pretrained_cfg": {
        "tag": "made_up",
        "custom_load": False,
        "input_size": [3, 12, 12],
        "fixed_input_size": True,
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "crop_mode": "squash",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 1000,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    },
    "model_args": {
        "img_size": 12,
        "patch_size": 4,
        "embed_dim": 12,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 5 / 3,
    },
}


def with_config(path: Path, **changed: Any) -> Path:
    content = {**TIMM, **changed}
    (path.parent / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


def rewrite(path: Path, change: Any) -> None:
    tensors = dict(load_tensors(path)[0])
    change(tensors)
    save_tensors(path, tensors, {})


def test_a_bare_file_leaves_open_what_tensors_do_not_say(square: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(square)
    lines = caught.value.found.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["heads", "eps", "activation", "pool"]
    assert '1e-06 by convention="timm", timm/' in lines[1]
    assert caught.value.where == str(square)


def test_arguments_fill_what_is_open(square: Path) -> None:
    weights = load(square, **NUMERICS)
    config, provenance = weights.config, weights.source.provenance
    assert (config.patch_size, config.channels, config.width, config.depth) == ((4, 4), 3, 12, 2)
    assert (config.mlp_width, config.classes, config.qkv_bias) == (20, 7, True)
    assert (config.position_grid, config.image_size, config.head_dim) == ((3, 3), (12, 12), 6)
    assert (config.heads, config.eps, config.activation) == (2, 1e-5, "gelu_tanh")
    assert provenance["heads"] == "argument heads=2"
    assert provenance["position_grid"] == "shape of pos_embed (1, 10, 12), assumed square"
    assert provenance["image_size"] == "position grid times patch size"
    assert provenance["mlp_width"] == "shape of blocks.0.mlp.fc1.weight (20, 12)"
    assert set(provenance) == {*config.to_dict(), "preprocessing"}
    assert weights.preprocessing is None
    assert weights.source.format == "timm"


def test_a_convention_fills_numerics_and_pixels(square: Path) -> None:
    weights = load(square, heads=2, convention="timm")
    assert (weights.config.eps, weights.config.activation) == (1e-6, "gelu")
    assert weights.source.provenance["eps"] == "convention timm (timm/layers/norm.py: LayerNorm(eps=1e-6))"
    recipe = weights.preprocessing
    assert recipe is not None
    assert (recipe.size, recipe.resize_to, recipe.resize) == ((12, 12), (13, 13), "shortest")
    assert (recipe.mean, recipe.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert set(weights.source.provenance) == {*weights.config.to_dict(), *recipe.to_dict()}


def test_arguments_come_before_a_convention(square: Path) -> None:
    weights = load(square, heads=2, convention="timm", eps=1e-12, mean=0.4, image_size=(16, 24))
    recipe = weights.preprocessing
    assert recipe is not None
    assert (weights.config.eps, recipe.mean) == (1e-12, (0.4, 0.4, 0.4))
    assert (weights.config.image_size, weights.config.position_grid) == ((16, 24), (3, 3))
    assert (recipe.size, recipe.resize_to) == ((16, 24), (17, 26))


def test_a_convention_keeps_its_filter_where_the_input_is_not_square(square: Path) -> None:
    recipe = load(square, convention="timm", heads=2, image_size=(16, 24)).preprocessing
    assert recipe is not None
    assert (recipe.interpolation, recipe.resize_to) == ("bicubic", (17, 26))


def test_timms_config_file_fills_everything(square: Path) -> None:
    weights = load(with_config(square).parent)
    config, recipe, provenance = weights.config, weights.preprocessing, weights.source.provenance
    assert (config.heads, config.eps, config.activation, config.pool) == (2, 1e-6, "gelu", "token")
    assert recipe == Preprocessing(
        size=(12, 12),
        channels=3,
        resize="squash",
        resize_to=(15, 15),
        interpolation="bilinear",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    assert provenance["heads"] == "config.json: model_args.num_heads"
    assert provenance["classes"] == "config.json: num_classes"
    assert provenance["mean"] == "config.json: pretrained_cfg.mean"
    assert provenance["mlp_width"] == "config.json: model_args.mlp_ratio times width 12"
    assert provenance["position_grid"] == "config.json: model_args.img_size over the patch size"
    assert provenance["eps"].startswith("convention timm (")
    assert load(square).config == config


def test_the_older_config_file_without_nesting(square: Path) -> None:
    content = (
        {k: v for k, v in TIMM.items() if k != "pretrained_cfg"} | TIMM["pretrained_cfg"] | {"num_classes": 7}
    )
    (square.parent / "config.json").write_text(json.dumps(content))
    weights = load(square)
    assert weights.preprocessing == load(with_config(square)).preprocessing


def test_what_a_config_file_leaves_out_is_timms_own_default(square: Path) -> None:
    arguments = {name: value for name, value in TIMM["model_args"].items() if name != "img_size"}
    changed = {"pretrained_cfg": {"input_size": [3, 24, 24]}, "model_args": arguments}
    recipe = load(with_config(square, **changed)).preprocessing
    assert recipe is not None
    assert (recipe.mean, recipe.resize_to) == ((0.485, 0.456, 0.406), (27, 27))
    assert recipe.std == (0.229, 0.224, 0.225)


def test_a_known_architecture_supplies_the_heads(tmp_path: Path) -> None:
    from vitref.config import Config

    made = Config.variant("ViT-Ti/16", convention="timm", image_size=32, depth=12)
    tensors = {name: np.full(shape, 0.01, "f4") for name, shape in made.parameter_shapes().items()}
    save_tensors(tmp_path / "model.safetensors", tensors, {})
    pretrained = {**TIMM["pretrained_cfg"], "input_size": [3, 224, 224]}
    content = {"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg": pretrained}
    (tmp_path / "config.json").write_text(json.dumps(content))
    weights = load(tmp_path)
    assert weights.config.heads == 3
    assert weights.source.provenance["heads"] == "timm/models/vision_transformer.py: vit_tiny_patch16_224"
    assert (weights.config.image_size, weights.config.position_grid) == ((224, 224), (2, 2))


def test_an_unknown_architecture_leaves_the_heads_open(square: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(with_config(square, architecture="vit_new", model_args=None))
    assert [line.split()[0] for line in caught.value.found.splitlines()[1:]] == ["heads"]
    assert "'vit_new' in config.json is not one that is known here" in caught.value.remedy


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": 9}, "classes 9 (config.json: num_classes), but 7 by the tensors"),
        ({"model_args": {"num_heads": 2}}, "patch_size (16, 16) (timm/models/vision_transformer.py"),
        (
            {"pretrained_cfg": {"input_size": [1, 12, 12]}},
            "channels 1 (config.json: pretrained_cfg.input_size)",
        ),
        ({"model_args": {**TIMM["model_args"], "mlp_ratio": 4}}, "mlp_width 48"),
        (
            {"model_args": {**TIMM["model_args"], "embed_dim": [1]}},
            "width [1] (config.json: model_args.embed_dim)",
        ),
        ({"num_features": 384}, "width 384 (config.json: num_features), but 12 by the tensors"),
        (
            {"model_args": {**TIMM["model_args"], "num_heads": 5}, "num_classes": 9},
            "heads 5 (config.json: model_args.num_heads) is no divisor of 12 by the tensors",
        ),
        ({"model_args": {**TIMM["model_args"], "num_heads": 5}, "num_classes": 9}, "classes 9"),
    ],
)
def test_a_config_file_that_contradicts_the_tensors(
    square: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(with_config(square, **changed))
    assert message in caught.value.found


def test_an_argument_repairs_a_config_file(square: Path) -> None:
    assert load(with_config(square, num_classes=9), classes=7).config.classes == 7


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"global_pool": "map"}, "global_pool='map'"),
        ({"pos_embed": "none"}, "pos_embed='none'"),
        ({"reg_tokens": 4}, "reg_tokens=4"),
        ({"act_layer": "quick_gelu"}, "act_layer='quick_gelu'"),
        ({"qk_norm": True}, "qk_norm=True"),
        ({"class_token": 1}, "class_token=1"),
        ({"brand_new": None}, "brand_new=None"),
    ],
)
def test_arguments_of_other_models_are_refused(square: Path, arguments: dict[str, Any], wrong: str) -> None:
    with_config(square, model_args={**TIMM["model_args"], **arguments})
    with pytest.raises(ConfigError) as caught:
        load(square)
    assert wrong in caught.value.found
    assert caught.value.where == str(square.parent / "config.json: model_args")
    assert "not supported in this version" in caught.value.remedy


@pytest.mark.parametrize(
    "ignored", [{"drop_rate": 0.1}, {"reg_tokens": 0}, {"dynamic_img_size": True}, {"fc_norm": None}]
)
def test_arguments_without_effect_are_accepted(square: Path, ignored: dict[str, Any]) -> None:
    assert load(with_config(square, model_args={**TIMM["model_args"], **ignored}))


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"architecture": 3}, "config.json: architecture"),
        ({"model_args": [1]}, "config.json: model_args"),
        ({"pretrained_cfg": "x"}, "config.json: pretrained_cfg"),
        ({"pretrained_cfg": {"input_size": [12, 12]}}, "config.json: pretrained_cfg.input_size"),
        ({"pretrained_cfg": {"crop_pct": 0}}, "config.json: pretrained_cfg.crop_pct"),
        ({"pretrained_cfg": {"crop_pct": "0.9"}}, "config.json: pretrained_cfg.crop_pct"),
        ({"pretrained_cfg": {"crop_mode": "border"}}, "config.json: pretrained_cfg.crop_mode"),
        ({"pretrained_cfg": {"crop_mode": ["center"]}}, "config.json: pretrained_cfg.crop_mode"),
        ({"model_args": {"mlp_ratio": "4"}}, "config.json: model_args.mlp_ratio"),
        ({"pretrained_cfg": {"mean": "x"}}, "config.json: pretrained_cfg.mean"),
        ({"pretrained_cfg": {"interpolation": ["x"]}}, "config.json: pretrained_cfg.interpolation"),
        ({"pretrained_cfg": {"crop_pct": 1.5}}, "config.json: pretrained_cfg.crop_pct"),
        ({"model_args": {"patch_size": "x"}}, "config.json: model_args.patch_size"),
        ({"model_args": {**TIMM["model_args"], "img_size": 10**400}}, "config.json: model_args.img_size"),
        ({"model_args": {**TIMM["model_args"], "num_heads": "2"}}, "config.json: model_args.num_heads"),
        ({"model_args": {**TIMM["model_args"], "num_heads": 0}}, "config.json: model_args.num_heads"),
    ],
)
def test_a_malformed_config_file_names_the_entry(square: Path, changed: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(with_config(square, **changed))
    assert caught.value.where == str(square.parent / where)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"a":' * 50_000])
def test_a_config_file_that_is_no_object(square: Path, content: bytes) -> None:
    (square.parent / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match="a JSON object"):
        load(square.parent)


def test_a_config_file_of_another_library_is_left_aside(square: Path) -> None:
    (square.parent / "config.json").write_text('{"model_type": "vit"}')
    assert load(square, **NUMERICS)
    with pytest.raises(ConfigError, match="not one that timm writes"):
        load(square)


def test_our_own_record_comes_before_a_config_file(square: Path) -> None:
    load(square, **NUMERICS).save(square)
    with_config(square, num_classes=99)
    assert load(square).config.eps == 1e-5
    (square.parent / "config.json").write_text("{")
    assert load(square).config.eps == 1e-5


def test_every_contradiction_is_in_one_error(square: Path) -> None:
    arguments = {**TIMM["model_args"], "num_heads": 5, "depth": 3, "in_chans": 1}
    with pytest.raises(ConfigError) as caught:
        load(with_config(square, model_args=arguments, num_classes=9, num_features=13))
    lines = [line.split()[0] for line in caught.value.found.splitlines()[1:]]
    assert lines == ["channels", "width", "depth", "mlp_width", "classes", "heads"]


def test_a_wrong_value_in_our_own_record_is_blamed_on_it(square: Path, tmp_path: Path) -> None:
    load(square, heads=2, convention="timm").save(tmp_path / "own.safetensors")
    tensors, metadata = load_tensors(tmp_path / "own.safetensors")
    record = json.loads(metadata["vitref"])
    for part, field, value in [("config", "eps", 7), ("preprocessing", "mean", ["x"]), ("config", "pool", 1)]:
        wrong = {**record, part: {**record[part], field: value}}
        save_tensors(tmp_path / "own.safetensors", tensors, {"vitref": json.dumps(wrong)})
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "own.safetensors")
        start = f"{tmp_path / 'own.safetensors'}: {field} (metadata of own.safetensors; there: "
        assert caught.value.where.startswith(start)
        assert caught.value.remedy == f"Correct the file, or give {field}=."
    assert load(tmp_path / "own.safetensors", pool="token").config.pool == "token"


@pytest.mark.parametrize(
    ("given", "where"),
    [({"eps": 3}, "Config.eps"), ({"mean": "x"}, "Preprocessing.mean"), ({"heads": "2"}, "Config.heads")],
)
def test_a_wrong_argument_is_not_blamed_on_a_file(square: Path, given: dict[str, Any], where: str) -> None:
    with_config(square, pretrained_cfg={"mean": "y"})
    with pytest.raises(ConfigError) as caught:
        load(square, **{"mean": 0.5, **given})
    assert caught.value.where == where


def test_provenance_tells_which_argument_overrides_a_file(square: Path) -> None:
    given: dict[str, Any] = {
        "heads": 3,
        "mean": 0.5,
        "image_size": 12,
        "std": [0.4, 0.5, 0.6],
        "patch_size": 4,
    }
    provenance = load(with_config(square), **given).source.provenance
    assert provenance["heads"] == "argument heads=3, against 2 in config.json: model_args.num_heads"
    assert provenance["mean"] == (
        "argument mean=0.5, against [0.1, 0.2, 0.3] in config.json: pretrained_cfg.mean"
    )
    assert provenance["image_size"] == "argument image_size=12"
    assert provenance["std"] == "argument std=[0.4, 0.5, 0.6]"
    assert provenance["patch_size"] == "argument patch_size=4"


def test_provenance_tells_which_argument_overrides_our_own_record(square: Path) -> None:
    load(square, heads=2, convention="timm").save(square)
    weights = load(square, heads=3, eps=1e-6)
    said = "argument heads=3, against 2 in metadata of model.safetensors"
    assert weights.source.provenance["heads"] == said
    assert weights.source.provenance["eps"] == "argument eps=1e-06"
    weights.save(square)
    assert load(square).source.provenance["heads"] == f"metadata of model.safetensors; there: {said}"


def test_a_width_without_mlp_ratio_has_timms_own_ratio(tmp_path: Path) -> None:
    from vitref.config import Config

    def written(mlp_width: int, architecture: str, width: int = 12, **changed: Any) -> Path:
        sizes: dict[str, Any] = {
            "image_size": 32,
            "depth": 1,
            "width": width,
            "mlp_width": mlp_width,
            "classes": 7,
        }
        made = Config.variant("ViT-Ti/16", convention="timm", **sizes)
        tensors = {name: np.ones(shape, "f4") for name, shape in made.parameter_shapes().items()}
        save_tensors(tmp_path / "model.safetensors", tensors, {})
        arguments = {"img_size": 32, "embed_dim": width, "depth": 1, "num_heads": 3}
        content = {"architecture": architecture, "num_classes": 7, "model_args": arguments, **changed}
        (tmp_path / "config.json").write_text(json.dumps(content))
        return tmp_path

    place = "config.json: model_args.embed_dim times 4, timm's mlp_ratio"
    assert load(written(48, "vit_tiny_patch16_224")).source.provenance["mlp_width"] == place
    with pytest.raises(ConfigError, match="mlp_width 48 .*, but 40 by the tensors"):
        load(written(40, "vit_tiny_patch16_224"))
    features: dict[str, Any] = {"num_features": 12, "model_args": {"img_size": 32, "depth": 1}}
    assert load(written(48, "vit_tiny_patch16_224", **features)).config.mlp_width == 48
    assert load(written(36, "test_vit", model_args={"embed_dim": 12, "depth": 1, "num_heads": 3}))
    with pytest.raises(ConfigError, match=r"mlp_width 768 \(timm/models/.*vit_tiny_patch16_224\), but 40"):
        load(written(40, "vit_tiny_patch16_224", width=192))
    assert load(written(40, "made_up")).config.mlp_width == 40


def test_a_position_table_for_another_grid_is_told(square: Path) -> None:
    with_config(square, model_args={**TIMM["model_args"], "img_size": 24})
    said = "config.json: model_args.img_size; the position table is for 3 x 3 patches, and is resized"
    weights = load(square)
    assert weights.source.provenance["image_size"] == said
    for _ in range(2):
        weights.save(square)
        weights = load(square)
        assert weights.source.provenance["image_size"] == f"metadata of model.safetensors; there: {said}"


def test_arguments_come_before_our_own_record(square: Path) -> None:
    load(square, heads=2, convention="timm").save(square)
    weights = load(square, heads=3, eps=0.5, mean=0.25)
    assert (weights.config.heads, weights.config.head_dim, weights.config.eps) == (3, 4, 0.5)
    assert weights.preprocessing is not None
    assert weights.preprocessing.mean == (0.25,) * 3
    assert weights.preprocessing.resize_to == (13, 13)


def test_another_image_size_rescales_the_recorded_pixels(square: Path) -> None:
    first = load(square, heads=2, convention="timm")
    first.save(square)
    assert load(square, image_size=12).preprocessing == first.preprocessing
    other = load(square, image_size=24).preprocessing
    assert other is not None
    assert (other.size, other.resize_to) == ((24, 24), (26, 26))
    assert other == first.resized(24).preprocessing == load(square).resized(24).preprocessing


def test_a_crop_of_unknown_rule_is_left_open_at_another_image_size(square: Path) -> None:
    load(square, heads=2, convention="timm", resize_to=20).save(square)
    other = load(square, image_size=24)
    assert other.preprocessing is None
    assert load(square).resized(24).preprocessing is None
    assert other.source.provenance["preprocessing"] == "none: resize_to not known"
    recipe = load(square, image_size=24, resize_to=30).preprocessing
    assert recipe is not None
    assert (recipe.size, recipe.resize_to) == ((24, 24), (30, 30))
    assert load(square, image_size=24, convention="timm").preprocessing is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": 3}, "unknown field hidden"),
        ({"heads": 5}, "heads 5 (argument heads=5) is no divisor of 12 by the tensors (shape of"),
        ({"heads": 0}, "Config.heads"),
        ({"heads": None}, "Config.heads"),
        ({"head_dim": np.zeros(2)}, "Config.head_dim"),
        ({"heads": 3, "head_dim": 3}, "heads 3 (argument heads=3) times head_dim 3"),
        ({"width": np.zeros(2)}, "width array([0., 0.])"),
        ({"width": 24}, "width 24 (argument width=24), but 12 by the tensors (shape of"),
        ({"depth": 3}, "depth 3"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"position_grid": (2, 4)}, "9 positions by the tensors"),
        ({"position_grid": "3"}, "Config.position_grid"),
        ({"patch_size": 8}, "patch_size (8, 8)"),
        ({"eps": "small"}, "Config.eps"),
        ({"mean": 0.5}, "found mean, but no interpolation, resize, resize_to, std"),
        ({"convention": "other"}, "one of timm"),
        ({"format": "other"}, "one of timm, huggingface, google, vitref"),
        ({"preprocessing": {"mean": 0.5}}, "a Preprocessing, or its fields"),
    ],
)
def test_wrong_arguments(square: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(square, **{**NUMERICS, **fields})
    assert message in str(caught.value)


def test_a_preprocessing_is_taken_whole(square: Path, recipe: Preprocessing) -> None:
    weights = load(square, preprocessing=recipe, **NUMERICS)
    assert weights.preprocessing is recipe
    assert weights.source.provenance["mean"] == "argument preprocessing"
    with pytest.raises(ConfigError, match="both preprocessing= and mean"):
        load(square, preprocessing=recipe, mean=0.5, **NUMERICS)


def test_head_dim_tells_the_heads(square: Path) -> None:
    weights = load(square, **{**NUMERICS, "head_dim": 4, "heads": 3})
    assert (weights.config.heads, weights.config.head_dim) == (3, 4)
    del (numerics := dict(NUMERICS))["heads"]
    assert load(square, head_dim=4, **numerics).config.heads == 3
    assert load(square, head_dim=0, **NUMERICS).config.head_dim == 6


def test_heads_are_proposed_and_not_assumed(tmp_path: Path) -> None:
    from vitref.config import Config

    made = Config.variant("ViT-S/16", convention="timm", image_size=32, depth=1, mlp_width=4)
    tensors = {name: np.zeros(shape, "f4") for name, shape in made.parameter_shapes().items()}
    save_tensors(tmp_path / "m.safetensors", tensors, {})
    with pytest.raises(ConfigError, match="heads=6, as in ViT-S/16"):
        load(tmp_path / "m.safetensors", convention="timm")


def test_positions_that_are_no_square_stay_open(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_tensors(path, dict(weights), {})
    given: dict[str, Any] = {"heads": 3, "convention": "timm", "image_size": (12, 12)}
    with pytest.raises(ConfigError, match="position_grid .*has 13 rows, perhaps one for the class token"):
        load(path, **given)
    assert load(path, position_grid=(4, 3), **given).config.position_grid == (4, 3)


def test_channels_argument_sets_both(square: Path) -> None:
    weights = load(square, heads=2, convention="timm", channels=3)
    assert weights.preprocessing is not None
    assert weights.preprocessing.channels == weights.config.channels == 3


@pytest.mark.parametrize("channels", [1, 5])
def test_pictures_have_one_or_three_channels(square: Path, channels: int) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["patch_embed.proj.weight"] = np.ones((12, channels, 4, 4), "f4")

    rewrite(square, change)
    weights = load(square, heads=2, convention="timm")
    assert weights.config.channels == channels
    assert (weights.preprocessing is None) == (channels == 5)


def test_all_that_does_not_fit_is_in_one_error(square: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        del tensors["norm.weight"]
        tensors["fc_norm.weight"] = np.zeros(12, "f4")
        tensors["patch_embed.proj.weight"] = np.zeros((12, 48), "f4")
        tensors["blocks.1.norm1.bias"] = np.zeros(13, "f4")
        tensors["head.bias"] = np.zeros(7, "i4")

    rewrite(square, change)
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    assert caught.value.found.splitlines()[1:] == [
        "  missing norm.weight",
        "  extra fc_norm.weight (12,): a norm on the pooled vector, in the place of norm, not "
        "supported in this version",
        "  misshapen patch_embed.proj.weight (12, 48), expected (12, ?, ?, ?)",
        "  misshapen blocks.1.norm1.bias (13,), expected (12,)",
        "  dtype of head.bias int32, expected float64, float32, float16, bfloat16",
    ]


def test_most_tensors_decide_which_one_is_misshapen(square: Path) -> None:
    rewrite(square, lambda tensors: tensors.update(cls_token=np.zeros((1, 1, 13), "f4")))
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    assert caught.value.found.splitlines()[1:] == ["  misshapen cls_token (1, 1, 13), expected (1, 1, 12)"]


def test_a_missing_block(square: Path) -> None:
    def drop(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("blocks.0.")]:
            tensors[name.replace("blocks.0", "blocks.2")] = tensors.pop(name)

    rewrite(square, drop)
    with pytest.raises(CheckpointError, match="missing blocks.0, all of it"):
        load(square)


def test_a_missing_block_is_told_with_the_rest(square: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("blocks.1.")]:
            tensors[name.replace("blocks.1", "blocks.3")] = tensors.pop(name)
        del tensors["norm.bias"]
        tensors["foo"] = np.zeros(3)
        tensors["blocks.0.norm1.bias"] = np.zeros(5, "f4")

    rewrite(square, change)
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    assert caught.value.found.splitlines()[1:] == [
        "  missing blocks.1, all of it",
        "  missing blocks.2, all of it",
        "  missing norm.bias",
        "  extra foo (3,)",
        "  misshapen blocks.0.norm1.bias (5,), expected (12,)",
    ]


def test_a_number_that_is_no_blocks(square: Path) -> None:
    rewrite(square, lambda tensors: tensors.update({"blocks.999999.norm1.bias": np.zeros(12, "f4")}))
    with pytest.raises(CheckpointError, match="3 blocks, of which the last is number 999999"):
        load(square)


def test_long_lists_are_grouped_and_cut(square: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors.update({f"decoder_blocks.{i}.weight": np.zeros(3, "f4") for i in range(8)})
        tensors.update({f"scales.{i}": np.zeros(3, "f4") for i in (0, 2)})
        tensors.update({f"part{letter}.weight": np.zeros(3, "f4") for letter in "abcdefghijklmn"})

    rewrite(square, change)
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    lines = [line.strip() for line in caught.value.found.splitlines()[1:]]
    assert lines[:3] == [
        "extra decoder_blocks.*.weight (3,) (0 to 7)",
        "extra scales.* (3,) (0, 2)",
        "extra parta.weight (3,)",
    ]
    assert lines[12:] == ["and 4 more"]


def test_a_trace_is_no_checkpoint(square: Path, tmp_path: Path) -> None:
    import vitref

    weights = load(square, heads=2, convention="timm")
    vitref.trace(weights, np.zeros((3, 12, 12))).save(tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match="a trace written by vitref, not weights"):
        load(tmp_path / "t.safetensors")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"format": 3}', '{"format": "of another kind"}'])
def test_metadata_that_is_called_trace_does_no_harm(square: Path, text: str) -> None:
    save_tensors(square, load_tensors(square)[0], {"trace": text})
    assert load(square, heads=2, convention="timm").source.metadata == {"trace": text}


@pytest.mark.parametrize("format", [None, "timm", "huggingface"])
@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_a_prefix_of_every_name_is_told(square: Path, prefix: str, format: str | None) -> None:
    tensors = load(square, heads=2, convention="timm").export(format=format)
    save_tensors(square, {prefix + name: array for name, array in tensors.items()}, {})
    with pytest.raises(CheckpointError) as caught:
        load(square, format=format)
    assert f"names all begin with '{prefix}'" in caught.value.found
    assert caught.value.remedy.startswith(f"Remove the prefix '{prefix}' from every name")


@pytest.mark.parametrize(
    "name", ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"]
)
def test_any_tensor_may_be_the_missing_one(square: Path, name: str) -> None:
    rewrite(square, lambda tensors: tensors.pop(name))
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    assert caught.value.found.splitlines()[1:] == [f"  missing {name}"]


def test_a_size_that_no_tensor_shows_is_not_held_against_the_others(square: Path) -> None:
    def drop(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith("qkv.weight")]:
            del tensors[name]

    rewrite(square, drop)
    with pytest.raises(CheckpointError) as caught:
        load(square, heads=2, convention="timm")
    assert caught.value.found.splitlines()[1:] == ["  missing blocks.*.attn.qkv.weight (blocks 0, 1)"]


def test_models_without_head_or_qkv_bias(square: Path) -> None:
    def strip(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("head.") or name.endswith("qkv.bias")]:
            del tensors[name]

    rewrite(square, strip)
    weights = load(square, heads=2, convention="timm")
    assert (weights.config.classes, weights.config.qkv_bias) == (0, False)
    with pytest.raises(ConfigError, match="classes 5"):
        load(square, heads=2, convention="timm", classes=5)


def test_a_position_table_without_positions(square: Path) -> None:
    rewrite(square, lambda tensors: tensors.update(pos_embed=np.zeros((1, 1, 12), "f4")))
    with pytest.raises(CheckpointError, match=r"misshapen pos_embed \(1, 1, 12\)"):
        load(square, heads=2, convention="timm")


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("beit.embeddings.cls_token", "BEiT"),
        ("encoder.layers.encoder_layer_0.ln_1.weight", "torchvision"),
        ("something.else", "unknown format"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, name: str, library: str) -> None:
    save_tensors(tmp_path / "model.safetensors", {name: np.zeros(3)}, {})
    with pytest.raises(CheckpointError, match=library):
        load(tmp_path)


def test_folders(square: Path, tmp_path: Path) -> None:
    folder = square.parent
    assert load(folder, heads=2, convention="timm").source.path == str(square)
    (folder / "other.safetensors").write_bytes(square.read_bytes())
    assert load(folder, heads=2, convention="timm").source.path == str(square)
    square.rename(folder / "one.safetensors")
    with pytest.raises(CheckpointError, match="one.safetensors, other.safetensors"):
        load(folder)
    (folder / "other.safetensors").unlink()
    assert load(folder, heads=2, convention="timm").source.path == str(folder / "one.safetensors")
    (folder / "one.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a folder with pytorch_model.bin"):
        load(folder)


def test_the_real_checkpoint(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "model.safetensors"
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = caught.value.found.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["heads", "eps", "activation", "pool"]
    assert "heads=3, as in ViT-Ti/16" in lines[0]
    weights = load(path, heads=3, convention="timm")
    assert (len(weights), sum(array.size for array in weights.values())) == (152, 5_717_416)
    assert weights.preprocessing is not None
    assert (weights.preprocessing.resize_to, weights.preprocessing.mean) == ((248, 248), (0.5, 0.5, 0.5))
    weights.save(tmp_path / "saved.safetensors")
    again = load(tmp_path / "saved.safetensors")
    assert (again.config, again.preprocessing) == (weights.config, weights.preprocessing)
    assert again.source.sha256 == weights.source.sha256
    assert all(again[name].tobytes() == array.tobytes() for name, array in weights.items())
    raw, _ = load_tensors(path)
    exported = again.export(format="timm")
    assert {name: array.tobytes() for name, array in exported.items()} == {
        n: a.tobytes() for n, a in raw.items()
    }


def test_the_real_checkpoint_with_timms_config_file(test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(test_data / "model.safetensors")
    content = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 1000,
        "num_features": 192,
        "global_pool": "token",
        "pretrained_cfg": {
            "tag": "augreg_in21k_ft_in1k",
            "input_size": [3, 224, 224],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    weights = load(tmp_path)
    bare = load(test_data / "model.safetensors", heads=3, convention="timm")
    assert (weights.config, weights.preprocessing) == (bare.config, bare.preprocessing)


@pytest.mark.parametrize(
    ("changed", "fields", "remedy"),
    [
        ({"depth": 3}, {}, "Correct config.json, or give depth=2."),
        ({}, {"depth": 3}, "Leave out or correct depth=."),
        (
            {"depth": 3, "in_chans": 1},
            {"width": 24},
            "Leave out or correct width=. Correct config.json, or give channels=3 and depth=2 together.",
        ),
        ({"num_heads": 5}, {}, "Correct config.json, or give heads=."),
    ],
)
def test_the_remedy_of_a_contradiction_says_what_to_give(
    square: Path, changed: dict[str, Any], fields: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(with_config(square, model_args={**TIMM["model_args"], **changed}), **fields)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    "changed", [{"size": (12, 13), "resize_to": (14, 15)}, {"channels": 1, "mean": (0,), "std": (1,)}]
)
def test_a_preprocessing_for_other_pictures_is_refused(
    square: Path, recipe: Preprocessing, changed: dict[str, Any]
) -> None:
    other = Preprocessing(**{**recipe.to_dict(), **changed})
    with pytest.raises(ConfigError) as caught:
        load(square, preprocessing=other, **NUMERICS)
    assert caught.value.where == "preprocessing"
    assert caught.value.expected == "(12, 12) with 3, as the model takes them"


def test_an_architecture_that_is_no_plain_one_is_said(square: Path) -> None:
    weights = load(with_config(square, architecture="swin_tiny", pretrained_cfg=TIMM["pretrained_cfg"]))
    assert "not called like a plain Vision Transformer" in weights.source.provenance["config.json"]
    weights = load(with_config(square, architecture="vit_new", pretrained_cfg=TIMM["pretrained_cfg"]))
    assert weights.source.provenance["config.json"].endswith("not one that is known here.")


@pytest.mark.parametrize("names", [list("abcdefg"), {str(k): name for k, name in enumerate("abcdefg")}])
def test_timms_label_names(square: Path, names: Any) -> None:
    weights = load(with_config(square, label_names=names))
    assert weights.source.classes == tuple("abcdefg")
    assert weights.source.provenance["class names"] == "config.json: label_names"


def test_pixels_that_are_not_read_are_said(square: Path) -> None:
    source = load(square, image_size=(13, 18), **NUMERICS).source.provenance["image_size"]
    assert "height 13 = 3 patches of 4 and 1 pixel that is not read" in source
    assert "width 18 = 4 patches of 4 and 2 pixels that are not read" in source
    weights = load(square, image_size=(13, 18), **NUMERICS)
    weights.save(square)
    assert load(square).source.provenance["image_size"].endswith(source)


def test_open_heads_propose_an_architecture(square: Path) -> None:
    with pytest.raises(ConfigError, match=r"heads= \(or architecture=, its published name\)"):
        load(square, convention="timm")
