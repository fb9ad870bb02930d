"""A real pretrained ViT-Ti/16 against the answers of an independent float64 implementation.

Needs the folder that VITREF_TEST_DATA names; skipped without it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

import vitref
from vitref import images
from vitref.cli import main

Array = npt.NDArray[Any]


def relative(found: Array, expected: Array) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def weights(test_data: Path) -> vitref.Weights:
    return vitref.load(test_data / "model.safetensors", convention="timm", heads=3)


@pytest.fixture(scope="module")
def rows(test_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((test_data / "labels.json").read_text())
    return found


@pytest.fixture(scope="module")
def files(test_data: Path, rows: list[dict[str, Any]]) -> list[Path]:
    return [test_data / "images" / row["file"] for row in rows]


@pytest.fixture(scope="module")
def summary(test_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((test_data / "grads_summary_float64.json").read_text())
    return found


@pytest.fixture(scope="module")
def recorded(test_data: Path) -> dict[str, Array]:
    return load_file(test_data / "grads_some_float64.safetensors")


@pytest.fixture(scope="module")
def batch(files: list[Path], summary: dict[str, Any]) -> list[Path]:
    """The pictures of the recorded gradients."""
    return [files[row] for row in summary["rows"]]


@pytest.fixture(scope="module")
def gradients(weights: vitref.Weights, batch: list[Path], summary: dict[str, Any]) -> vitref.Gradients:
    return vitref.backward(weights, batch, summary["labels"], dtype="float64")


def test_crops_are_bit_identical(weights: vitref.Weights, files: list[Path], test_data: Path) -> None:
    assert weights.preprocessing is not None
    assert np.array_equal(images.crop(files, weights.preprocessing), np.load(test_data / "crops_uint8.npy"))


def test_float64_logits_of_all_images(weights: vitref.Weights, files: list[Path], test_data: Path) -> None:
    expected = np.load(test_data / "logits_float64.npy")
    for start in range(0, len(files), 8):
        part = slice(start, start + 8)
        logits = vitref.forward(weights, files[part], dtype="float64")
        assert logits.dtype == np.float64
        assert all(error < 1e-10 for error in map(relative, logits, expected[part]))


def test_cli_predicts_the_same_classes(
    rows: list[dict[str, Any]], test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(test_data / "images" / row["file"]) for row in rows]
    options = ["--convention", "timm", "--set", "heads=3", "--top", "1", "--json"]
    assert main(["classify", str(test_data / "model.safetensors"), *paths, *options]) == 0
    found = [result["top"][0]["class"] for result in json.loads(capsys.readouterr().out)]
    assert found == [row["top1"] for row in rows]


def test_float64_loss(gradients: vitref.Gradients, summary: dict[str, Any]) -> None:
    assert gradients.loss is not None
    assert abs(gradients.loss - summary["loss_value"]) < 1e-12


def test_float64_gradients(
    gradients: vitref.Gradients, recorded: dict[str, Array], summary: dict[str, Any]
) -> None:
    check_gradients(gradients, recorded, summary, 1e-9)
    assert abs(np.linalg.norm(gradients.image) / summary["input_grad_l2"] - 1) < 1e-9


def test_float32_gradients(
    weights: vitref.Weights, batch: list[Path], recorded: dict[str, Array], summary: dict[str, Any]
) -> None:
    found = vitref.backward(weights, batch, summary["labels"], dtype="float32")
    assert {gradient.dtype.name for gradient in found.weights.values()} == {"float32"}
    check_gradients(found, recorded, summary, 2e-5)


def check_gradients(
    found: vitref.Gradients, recorded: dict[str, Array], summary: dict[str, Any], bound: float
) -> None:
    parameters = [name for name in recorded if name in found.weights]
    assert len(parameters) == 118
    assert all(relative(found.weights[name], recorded[name]) < bound for name in parameters)
    assert relative(found.image[0], recorded["input_grad_row0"]) < bound
    assert found.weights.keys() == summary["params"].keys()
    norms = {name: float(np.linalg.norm(gradient)) for name, gradient in found.weights.items()}
    assert all(abs(norms[name] / row["l2"] - 1) < bound for name, row in summary["params"].items())


def test_trace_file_holds_every_activation_and_gradient(
    weights: vitref.Weights,
    batch: list[Path],
    gradients: vitref.Gradients,
    summary: dict[str, Any],
    test_data: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "trace.safetensors"
    picture, label = str(batch[0]), str(summary["labels"][0])
    options = ["--convention", "timm", "--set", "heads=3", "--labels", label, "--out", str(out)]
    assert main(["trace", str(test_data / "model.safetensors"), picture, *options]) == 0
    tensors, about = read_with_numpy_alone(out)
    assert list(about["order"]) == [name for name in about["order"] if name in tensors]
    assert about["weights"]["sha256"] == weights.source.sha256
    assert {f"{name}:grad" for name in weights} <= tensors.keys()
    assert {f"{name}:dy" for name in about["order"] if ":" not in name} <= tensors.keys()
    assert tensors["blocks.11.attn.softmax"].shape == (1, 3, 197, 197)
    expected = np.load(test_data / "logits_float64.npy")[summary["rows"][0]]
    assert relative(tensors["logits"][0], expected) < 1e-10
    assert np.array_equal(tensors["input.labels"], summary["labels"][:1])


def read_with_numpy_alone(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """A safetensors reader in six lines, as a porter would write it."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    about: dict[str, Any] = json.loads(header.pop("__metadata__")["trace"])
    types = {"F64": np.float64, "F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(
            content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
            types[entry["dtype"]],
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }, about


def test_save_and_export_give_identical_bits(
    weights: vitref.Weights, test_data: Path, tmp_path: Path
) -> None:
    original = load_file(test_data / "model.safetensors")
    weights.save(tmp_path / "saved.safetensors")
    again = vitref.load(tmp_path / "saved.safetensors")
    assert (again.config, again.preprocessing) == (weights.config, weights.preprocessing)
    assert again.source.sha256 == weights.source.sha256
    exported = weights.export()
    for tensors in (dict(again), exported, load_file(tmp_path / "saved.safetensors")):
        assert tensors.keys() == original.keys()
        assert all(tensors[name].tobytes() == original[name].tobytes() for name in original)


def test_exported_tensors_load_again(weights: vitref.Weights, tmp_path: Path) -> None:
    save_file(weights.export(), tmp_path / "exported.safetensors")
    again = vitref.load(tmp_path / "exported.safetensors", convention="timm", heads=3)
    assert again.source.sha256 == weights.source.sha256
