"""Preprocessing: every field checked, one number for all channels, and plain types back and forth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import FIELDS, Preprocessing
from vitref.weights.files import save_tensors
from vitref.weights.npz import save_arrays

PLAIN: dict[str, Any] = {
    "size": (8, 6),
    "channels": 3,
    "resize": "shortest",
    "resize_to": 9,
    "interpolation": "bicubic",
    "mean": 0.5,
    "std": (0.1, 0.2, 0.3),
}


def test_one_number_stands_for_both_sides_and_all_channels() -> None:
    made = Preprocessing(**PLAIN)
    assert made.resize_to == (9, 9)
    assert made.mean == (0.5, 0.5, 0.5)
    assert made.std == (0.1, 0.2, 0.3)
    assert Preprocessing(**{**PLAIN, "channels": 1, "std": 1}).std == (1.0,)


def test_plain_types_make_the_same_again() -> None:
    made = Preprocessing(**PLAIN)
    assert set(made.to_dict()) == FIELDS
    assert Preprocessing(**made.to_dict()) == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", "8"),
        ("resize_to", (9, 9, 9)),
        ("channels", 4),
        ("channels", True),
        ("channels", 3.0),
        ("resize", "crop"),
        ("resize", ["squash"]),
        ("interpolation", "cubic"),
        ("mean", (0.5, 0.5)),
        ("mean", (0.5, "0.5", 0.5)),
        ("mean", float("nan")),
        ("mean", True),
        ("mean", (True, False, True)),
        ("mean", None),
        ("mean", 10**400),
        ("resize", np.zeros(2)),
        ("interpolation", np.zeros(2)),
        ("std", 0),
        ("std", (0.1, 0.2, float("inf"))),
        ("std", (0.1, 0.2, -0.3)),
    ],
)
def test_a_wrong_value_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocessing(**{**PLAIN, field: value})
    assert caught.value.where == f"Preprocessing.{field}"


@pytest.mark.parametrize("size", [(10, 6), (8, 10)])
def test_what_is_cut_out_must_fit_into_what_is_resized(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocessing(**{**PLAIN, "size": size})
    assert caught.value.where == "Preprocessing.resize_to"


TIMM: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "pretrained_cfg": {"input_size": [3, 224, 192], "crop_pct": 0.9, "mean": [0.5] * 3, "std": [0.25] * 3},
}
HUGGING_FACE: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 48},
    "resample": 2,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_timms_config_file(tmp_path: Path) -> None:
    written(tmp_path / "config.json", TIMM)
    expected = Preprocessing(
        size=(224, 192),
        channels=3,
        resize="shortest",
        resize_to=(248, 213),
        interpolation="bilinear",
        mean=0.5,  # type: ignore[arg-type]
        std=0.25,  # type: ignore[arg-type]
    )
    found = Preprocessing.load(tmp_path)
    assert found == Preprocessing(**{**expected.to_dict(), "interpolation": "bicubic"})
    assert Preprocessing.load(tmp_path / "config.json") == found
    older = {"architecture": "x", **TIMM["pretrained_cfg"]}
    assert Preprocessing.load(written(tmp_path / "older.json", older)) == found


def test_transformers_processor_file_comes_before_config_json(tmp_path: Path) -> None:
    written(tmp_path / "config.json", {"model_type": "vit"})
    written(tmp_path / "preprocessor_config.json", HUGGING_FACE)
    expected = Preprocessing(
        size=(32, 48),
        channels=3,
        resize="squash",
        resize_to=(32, 48),
        interpolation="bilinear",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    assert Preprocessing.load(tmp_path) == expected
    assert Preprocessing.load(written(tmp_path / "other.json", HUGGING_FACE)) == expected


def test_transformers_own_defaults(tmp_path: Path) -> None:
    path = written(tmp_path / "preprocessor_config.json", {"feature_extractor_type": "ViTFeatureExtractor"})
    assert Preprocessing.load(path) == Preprocessing.convention("huggingface", size=224)


def test_one_channel(tmp_path: Path) -> None:
    grey = {**HUGGING_FACE, "image_mean": [0.1, 0.2], "image_std": [0.2, 0.3]}
    with pytest.raises(ConfigError, match=r"image_mean: found \[0.1, 0.2\]; expected one number per channel"):
        Preprocessing.load(written(tmp_path / "preprocessor_config.json", grey))
    grey = {**HUGGING_FACE, "image_mean": [0.1], "image_std": [0.2]}
    made = Preprocessing.load(written(tmp_path / "preprocessor_config.json", grey))
    assert (made.channels, made.mean, made.std) == (1, (0.1,), (0.2,))
    timm = {**TIMM, "pretrained_cfg": {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]}}
    assert Preprocessing.load(written(tmp_path / "config.json", timm).parent / "config.json").channels == 1


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({**HUGGING_FACE, "size": {"shortest_edge": 3}}, "preprocessor_config.json: size"),
        ({**HUGGING_FACE, "size": 0}, "preprocessor_config.json: Preprocessing.size"),
        ({**HUGGING_FACE, "image_std": [0, 0, 0]}, "preprocessor_config.json: Preprocessing.std"),
        ([1], "preprocessor_config.json"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: Any, where: str) -> None:
    written(tmp_path / "preprocessor_config.json", content)
    with pytest.raises(ConfigError) as caught:
        Preprocessing.load(tmp_path)
    assert caught.value.where == str(tmp_path / where)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder without either"):
        Preprocessing.load(tmp_path)
    with pytest.raises(ConfigError, match="no such file or folder"):
        Preprocessing.load(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("name", "resize_to", "interpolation"),
    [
        ("timm", (35, 35), "bicubic"),
        ("huggingface", (32, 32), "bilinear"),
        ("google", (32, 32), "bilinear_tf"),
    ],
)
def test_conventions(name: str, resize_to: tuple[int, int], interpolation: str) -> None:
    made = Preprocessing.convention(name, size=32)
    assert (made.size, made.resize_to, made.interpolation) == ((32, 32), resize_to, interpolation)
    assert (made.mean, made.std) == ((0.5,) * 3, (0.5,) * 3)
    assert made.resize == ("shortest" if name == "timm" else "squash")
    assert Preprocessing.convention(name, size=(32, 16), channels=1).mean == (0.5,)


def test_timms_convention_off_the_square() -> None:
    assert Preprocessing.convention("timm", size=(32, 48)).interpolation == "bicubic"


@pytest.mark.parametrize(("name", "size"), [("torch", 32), ("timm", 0), ("timm", "32"), (None, 32)])
def test_wrong_conventions(name: Any, size: Any) -> None:
    with pytest.raises(ConfigError):
        Preprocessing.convention(name, size=size)


def test_a_folder_without_processor_file_has_its_models_size(tmp_path: Path) -> None:
    path = written(tmp_path / "config.json", {"model_type": "vit", "image_size": [32, 48]})
    assert Preprocessing.load(tmp_path) == Preprocessing.convention("huggingface", size=(32, 48))
    assert Preprocessing.load(path) == Preprocessing.load(tmp_path)
    written(path, {"model_type": "vit", "num_channels": 1})
    assert Preprocessing.load(tmp_path) == Preprocessing.convention("huggingface", size=224, channels=1)


@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        ({"model_type": "clip", "image_size": 32}, "config.json: model_type", "'clip'"),
        ({"image_size": 32}, "config.json: model_type", "nothing"),
        ({"model_type": "vit", "image_size": 64}, "preprocessor_config.json: size", "pictures of [32, 48]"),
        ({"architecture": "vit_tiny_patch16_224"}, "config.json", "timm's"),
    ],
)
def test_a_model_file_that_does_not_fit(tmp_path: Path, content: Any, where: str, found: str) -> None:
    written(tmp_path / "preprocessor_config.json", HUGGING_FACE)
    written(tmp_path / "config.json", content)
    with pytest.raises(ConfigError) as caught:
        Preprocessing.load(tmp_path)
    assert caught.value.where == str(tmp_path / where)
    assert found in caught.value.found


def test_timms_model_arguments_come_first(tmp_path: Path) -> None:
    written(tmp_path / "config.json", {**TIMM, "model_args": {"img_size": 32}})
    assert Preprocessing.load(tmp_path).size == (32, 32)


def test_statistics_are_for_one_channel_or_for_three(tmp_path: Path) -> None:
    path = written(tmp_path / "preprocessor_config.json", {**HUGGING_FACE, "image_mean": [0.5, 0.5]})
    with pytest.raises(ConfigError, match=r"image_mean: found \[0.5, 0.5\]"):
        Preprocessing.load(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
def test_what_vitref_recorded_comes_first(name: str, tmp_path: Path) -> None:
    recipe = Preprocessing(**{**PLAIN, "size": (8, 8)})
    config = vitref.Config.variant(
        "ViT-Ti/16", convention="timm", image_size=8, patch_size=4, depth=1, width=6, heads=2, mlp_width=4
    )
    weights = vitref.init(config, 0, preprocessing=recipe)
    weights.save(tmp_path / name)
    written(tmp_path / "config.json", {"model_type": "vit", "image_size": 8})
    assert Preprocessing.load(tmp_path) == Preprocessing.load(tmp_path / name) == recipe
    vitref.init(config, 0).save(tmp_path / name)
    with pytest.raises(ConfigError, match="not known"):
        Preprocessing.load(tmp_path)
    (save_tensors if name.endswith("safetensors") else save_arrays)(tmp_path / name, dict(weights), {})
    assert Preprocessing.load(tmp_path) == Preprocessing.convention("huggingface", size=8)
    with pytest.raises(ConfigError, match="weights that vitref did not write"):
        Preprocessing.load(tmp_path / name)
    (tmp_path / name).write_bytes(b"\0" * 20)
    with pytest.raises(CheckpointError):
        Preprocessing.load(tmp_path)
