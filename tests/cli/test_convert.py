"""`vitref convert`: round trips through every library bit for bit, what it says, and what it refuses."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import vitref
from vitref.cli import convert, main, parser
from vitref.errors import CheckpointError
from vitref.weights import Weights, companions

OUT = {"timm": "t.safetensors", "huggingface": "folder", "google": "g.npz", "vitref": "v.safetensors"}


def config(**given: Any) -> vitref.Config:
    fields: dict[str, Any] = {
        "image_size": (8, 12),
        "patch_size": (4, 3),
        "channels": 3,
        "width": 12,
        "depth": 2,
        "heads": 3,
        "mlp_width": 20,
        "classes": 7,
        "eps": 1e-5,
        "activation": "gelu_tanh",
        "pool": "token",
        "qkv_bias": True,
        "position_grid": (2, 4),
        "position_resize": "bilinear_corners",
    }
    return vitref.Config(**(fields | given))


def recipe(**given: Any) -> vitref.Preprocessing:
    fields: dict[str, Any] = {
        "size": (8, 12),
        "channels": 3,
        "resize": "squash",
        "resize_to": (8, 12),
        "interpolation": "bicubic",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    return vitref.Preprocessing(**(fields | given))


def made(model: vitref.Config, pixels: vitref.Preprocessing | None = None) -> Weights:
    rng = np.random.default_rng(4)
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in model.parameter_shapes().items()}
    return Weights(tensors, model, preprocessing=pixels)


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    code = main(["convert", *map(str, argv)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def refusal(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    code = main(["convert", *map(str, argv)])
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    return captured.err


@pytest.mark.parametrize("first", OUT)
@pytest.mark.parametrize("second", OUT)
def test_round_trips_are_bit_identical(
    first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, weights = tmp_path / "start.safetensors", made(config(), recipe())
    weights.save(start, format="timm")
    there, back = tmp_path / f"1{OUT[first]}", tmp_path / f"2{OUT[second]}"
    said = run(capsys, start, there, "--to", first)
    run(capsys, there, back, "--to", second)
    run(capsys, back, tmp_path / "end.safetensors", "--to", "timm")
    assert "every value is the same bit for bit" in said
    tensors, again = load_file(start), load_file(tmp_path / "end.safetensors")
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in again.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in tensors.items()
    }
    end = vitref.load(tmp_path / "end.safetensors")
    assert (end.config, end.preprocessing) == (weights.config, weights.preprocessing)


def bare(folder: Path, to: Path) -> Path:
    """A copy of a Hugging Face folder whose tensors' file says nothing but its tensors."""
    shutil.copytree(folder, to)
    save_file(load_file(folder / "model.safetensors"), to / "model.safetensors")
    return to


@pytest.mark.parametrize(
    "changed", [{}, {"classes": 0}, {"classes": 0, "pre_logits": 5}, {"qkv_bias": False}]
)
def test_a_hugging_face_folder_says_everything_itself(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = made(config(position_resize="bicubic", **changed), recipe())
    weights.save(tmp_path / "v.safetensors")
    said = run(capsys, tmp_path / "v.safetensors", tmp_path / "folder", "--to", "huggingface")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    again = vitref.load(bare(tmp_path / "folder", tmp_path / "bare"))
    assert (again.config, again.preprocessing) == (weights.config, weights.preprocessing)
    assert again.source.format == "huggingface"
    assert "not written" not in said
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert written["architectures"] == [
        "ViTForImageClassification" if "classes" not in changed else "ViTModel"
    ]


def test_the_position_table_decides_the_image_size_of_a_hugging_face_folder() -> None:
    beside = companions.huggingface(config(image_size=(16, 15)), recipe())
    assert beside.files["config.json"]["image_size"] == [8, 12]
    assert beside.files["config.json"]["patch_size"] == [4, 3]
    assert [text for text in beside.remarks if "interpolate_pos_encoding" in text]
    assert [text for text in beside.remarks if "'bilinear_corners'" in text]
    square = companions.huggingface(config(patch_size=4, image_size=9, position_grid=(2, 2)), recipe())
    assert square.files["config.json"]["image_size"] == 9


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (None, "not known"),
        (recipe(resize="shortest"), "does not crop"),
        (recipe(resize_to=(9, 12)), "does not crop"),
        (recipe(interpolation="bilinear_tf"), "no filter 'bilinear_tf'"),
    ],
)
def test_pixels_that_the_processor_cannot_prepare_are_said(
    pixels: vitref.Preprocessing | None, reason: str
) -> None:
    beside = companions.huggingface(config(), pixels)
    assert list(beside.files) == ["config.json"]
    assert reason in beside.remarks[-1]


def test_transformers_finds_the_framework_it_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(config()).save(tmp_path / "v.safetensors")
    run(capsys, tmp_path / "v.safetensors", tmp_path / "folder", "--to", "huggingface")
    weights = vitref.load(tmp_path / "folder")
    assert weights.source.metadata["format"] == "pt"


def test_what_the_library_does_otherwise_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(config(), recipe()).save(tmp_path / "v.safetensors")
    google = run(capsys, tmp_path / "v.safetensors", tmp_path / "g.npz", "--to", "google")
    assert "eps is 1e-05 here, and 1e-06 in google" in google
    assert "activation is" not in google
    assert "Pixels are preprocessed otherwise" in google
    timm = run(capsys, tmp_path / "v.safetensors", tmp_path / "t.safetensors", "--to", "timm")
    assert "activation is 'gelu_tanh' here, and 'gelu' in timm" in timm
    assert "position_resize" not in timm
    resized = made(config(image_size=(16, 12)), recipe(size=(16, 12), resize_to=(16, 12)))
    assert any("position_resize" in text for text in convert.differences(resized, "timm"))
    assert not any("eps" in text for text in convert.differences(resized, "huggingface"))
    assert convert.differences(resized, "vitref") == []


def test_facts_are_given_as_for_other_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = made(config(patch_size=(4, 4), image_size=12, position_grid=3))
    save_file(dict(weights), tmp_path / "bare.safetensors")
    argv = [tmp_path / "bare.safetensors", tmp_path / "g.npz", "--to", "google", "--convention", "google"]
    assert "heads" in refusal(capsys, *argv)
    run(capsys, *argv, "--set", "heads=3")
    assert vitref.load(tmp_path / "g.npz").config.heads == 3


@pytest.mark.parametrize(
    ("to", "changed"),
    [
        ("google", {"layer_scale": True}),
        ("google", {"qkv_bias": False}),
        ("huggingface", {"layer_scale": True}),
        ("huggingface", {"class_token": False, "pool": "mean"}),
        ("huggingface", {"pre_logits": 5}),
        ("huggingface", {"head_dim": 7}),
        ("google", {"head_dim": 7}),
        ("timm", {"head_dim": 7}),
    ],
)
def test_models_without_a_place_there_are_refused(
    to: str, changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(config(**changed)).save(tmp_path / "v.safetensors")
    said = refusal(capsys, tmp_path / "v.safetensors", tmp_path / OUT[to], "--to", to)
    assert f"format {to}: found" in said
    assert next(iter(changed)) in said
    assert [path.name for path in tmp_path.iterdir()] == ["v.safetensors"]


def test_wrong_names_for_what_is_written_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.safetensors"
    made(config()).save(start)
    full = tmp_path / "full"
    full.mkdir()
    (full / "note.txt").write_text("mine")
    for to, name, reason in (
        ("google", "a.safetensors", "ending in .npz"),
        ("timm", "a.npz", "ending in .safetensors"),
        ("vitref", "a", "ending in .safetensors"),
        ("huggingface", "a.safetensors", "new or empty folder"),
        ("huggingface", "full", "not empty"),
        ("timm", "start.safetensors", "the file that is read"),
        ("onnx", "a.onnx", "one of timm, huggingface, google"),
        ("huggingface", "none/folder", "a folder that cannot be made"),
        ("google", "none/a.npz", "none"),
    ):
        assert reason in refusal(capsys, start, tmp_path / name, "--to", to)
    assert "missing" in refusal(capsys, tmp_path / "missing.npz", tmp_path / "a.npz", "--to", "google")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "start.safetensors"]
    assert [path.name for path in full.iterdir()] == ["note.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(config()).save(tmp_path / "v.safetensors")
    (tmp_path / "folder").mkdir()
    run(capsys, tmp_path / "v.safetensors", tmp_path / "folder", "--to", "huggingface")
    assert (tmp_path / "folder" / "model.safetensors").is_file()


def test_a_file_that_reads_back_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = made(config())
    other = weights.replace({"norm.bias": weights["norm.bias"] * np.float32(1 + 2**-20)})
    monkeypatch.setattr(convert, "load", lambda out: other)
    weights.save(tmp_path / "v.safetensors")
    words = ["convert", str(tmp_path / "v.safetensors"), str(tmp_path / "g.npz"), "--to", "google"]
    with pytest.raises(CheckpointError, match="something else than what was written"):
        convert.run(parser().parse_args(words))


def test_names_of_classes_are_carried_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = made(config())
    names = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
    source = dataclasses.replace(weights.source, classes=names)
    Weights(dict(weights), weights.config, source=source).save(tmp_path / "v.safetensors")
    run(capsys, tmp_path / "v.safetensors", tmp_path / "folder", "--to", "huggingface")
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert written["id2label"] == {str(k): name for k, name in enumerate(names)}
    assert written["label2id"] == {name: k for k, name in enumerate(names)}
    assert vitref.load(bare(tmp_path / "folder", tmp_path / "bare")).source.classes == names
    run(capsys, tmp_path / "folder", tmp_path / "g.npz", "--to", "google")
    assert vitref.load(tmp_path / "g.npz").source.classes == names


def test_notes_have_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = recipe(resize="shortest", resize_to=(9, 13), mean=0.5, std=0.5)
    made(config(), pixels).save(tmp_path / "v.safetensors")
    said = run(capsys, tmp_path / "v.safetensors", tmp_path / "folder", "--to", "huggingface")
    assert "32 parameters as 40 tensors: query, key and value apart" in said
    assert "resize is shortest here, squash there; resize_to is 9 x 13 here, 8 x 12 there" in said
    assert "interpolation is bicubic here, bilinear there): no file of huggingface says so" in said
    made(config(), recipe()).save(tmp_path / "w.safetensors")
    said = run(capsys, tmp_path / "w.safetensors", tmp_path / "other", "--to", "huggingface")
    assert "preprocessor_config.json says so." in said
    said = run(capsys, tmp_path / "v.safetensors", tmp_path / "t.safetensors", "--to", "timm")
    assert "timm, 32 tensors\n" in said


def test_names_of_very_many_classes_have_no_room_in_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = made(config())
    source = dataclasses.replace(weights.source, classes=("é" * 5000,) * 7)
    Weights(dict(weights), weights.config, source=source).save(tmp_path / "v.safetensors")
    said = run(capsys, tmp_path / "v.safetensors", tmp_path / "g.npz", "--to", "google")
    assert "names of the classes are left out" in said
    assert vitref.load(tmp_path / "g.npz").source.classes == ()
    said = run(capsys, tmp_path / "v.safetensors", tmp_path / "t.safetensors", "--to", "timm")
    assert "left out" not in said
    source = dataclasses.replace(weights.source, classes=("n" * 6000,) * 7)
    Weights(dict(weights), weights.config, source=source).save(tmp_path / "v.npz")
    assert vitref.load(tmp_path / "v.npz").source.classes == source.classes
