"""`vitref capture`: what a porter types, what is written, and what is said when it cannot be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from vitref import recording
from vitref.cli import main
from vitref.testing import tolerance
from vitref.verify.probes import cases

MODEL = """
import numpy as np

def logits(image):
    return image.reshape(len(image), -1)[:, :4]

def everything(image, labels):
    return {"logits": logits(image), "logits:dy": np.eye(4)[labels.argmax(axis=1)]}

def broken(image):
    raise ValueError("no such token")
"""


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trace, beside a port of the model in model.py, both in the current folder."""
    case = cases()["labelled"]
    vitref.trace(case.weights, case.image, case.labels).save(tmp_path / "reference.safetensors")
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return "reference.safetensors"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["capture", *argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def captured(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from vitref.weights.files import load_tensors

    tensors, metadata = load_tensors(path)
    return tensors, json.loads(metadata["capture"])


def test_python(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--python", "model.py:everything", "--trace", reference, "--out", "port.safetensors")
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    first, *_, last = out.splitlines()
    assert first.startswith("port.safetensors: 1 taps, 1 cotangents of 3 images, float64, 0.0 MiB")
    assert last == "next   vitref compare reference.safetensors port.safetensors"
    tensors, about = captured("port.safetensors")
    inputs = recording.load(reference).inputs
    assert np.array_equal(tensors["input.image"], inputs["image"])
    assert np.array_equal(tensors["input.labels"], inputs["labels"])
    assert set(tensors) == {"input.image", "input.labels", "logits", "logits:dy"}
    assert about["model"] == "model.py:everything"


def test_forward_only_and_json(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--python", "model.py:logits", "--trace", reference, "--out", "port.safetensors")
    code, out, err = run(capsys, *argv, "--forward-only", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["file"] == "port.safetensors"
    assert (found["taps"], found["cotangents"], found["gradients"], found["images"]) == (1, 0, 0, 3)
    assert found["about"]["source"] == "python"
    assert set(captured("port.safetensors")[0]) == {"input.image", "logits"}


def test_array_as_image(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("pixels.npy", np.ones((2, 3, 8, 7), np.float32))
    argv = ("--python", "model.py:logits", "--image", "pixels.npy", "--labels", "1,2")
    code, out, err = run(capsys, *argv, "--out", "port.safetensors")
    assert (code, err) == (0, "")
    assert "next" not in out
    tensors, _ = captured("port.safetensors")
    assert tensors["logits"].dtype == np.float32
    assert tensors["input.labels"].tolist() == [1, 2]


def test_pictures(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.new("L", (28, 28), 90).save("digit.png")
    argv = ("--python", "model.py:logits", "--image", "digit.png", "--weights", "bundled")
    assert run(capsys, *argv, "--out", "port.safetensors")[0] == 0
    expected = vitref.preprocess(Path("digit.png"), vitref.weights.bundled.checkpoint())
    assert np.array_equal(captured("port.safetensors")[0]["input.image"], expected)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--python", "model.py:broken", "--trace"), "ValueError: no such token, at"),
        (("--python", "model.py:missing", "--trace"), "no missing in model.py"),
        (("--python", "nowhere:f", "--trace"), "No module named 'nowhere'"),
        (("--python", "model.py:logits", "--loss", "sigmoid", "--trace"), "--loss without --torch"),
        (("--python", "model.py:logits", "--only", "v1", "--trace"), "--only without --onnx"),
        (("--python", "model.py:logits", "--labels", "1", "--trace"), "--labels beside --trace"),
        (("--python", "model.py:logits", "--weights", "w", "--trace"), "--weights beside --trace"),
    ],
)
def test_refusals(
    argv: tuple[str, ...], said: str, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *argv, reference, "--out", "port.safetensors")
    assert (code, out) == (1, "")
    assert said in err
    assert not Path("port.safetensors").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--image", "a.png"), "no --weights"),
        (("--image", "nowhere.npy"), "cannot be read"),
        (("--trace", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--trace", "model.py"), "model.py"),
        (("--trace", "reference.safetensors", "--out", "port.npz"), "ending in .safetensors"),
    ],
)
def test_wrong_files(
    argv: tuple[str, ...], said: str, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = () if "--out" in argv else ("--out", "port.safetensors")
    code, _, err = run(capsys, "--python", "model.py:logits", *argv, *out)
    assert code == 1
    assert said in err


def test_training_trace(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = cases()["training"]
    vitref.trace(case.weights, case.image, train=case.train).save("train.safetensors")
    argv = ("--python", "model.py:logits", "--trace", "train.safetensors", "--out", "port.safetensors")
    code, _, err = run(capsys, *argv)
    assert code == 1
    assert "a training pass" in err


def test_nothing_to_capture(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capture", "--trace", "t.safetensors", "--out", "port.safetensors"])
    assert ended.value.code == 2


TORCH = """
import sys
sys.path.insert(0, {root!r})
import torch
from tests.verify.capture.plain_vit import build

def port():
    return build(torch).float()

def none():
    return None
"""


def test_torch(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from tests.verify.capture import plain_vit

    Path("port.py").write_text(TORCH.format(root=str(Path(__file__).parents[2])))
    vitref.trace(plain_vit.weights(), plain_vit.image(), [1, 2]).save("plain.safetensors")
    argv = ("--trace", "plain.safetensors", "--out", "port.safetensors")
    code, out, err = run(capsys, "--torch", "port.py:port", *argv)
    assert (code, err) == (0, "")
    assert "cotangents, 32 gradients of 2 images, float32" in out
    assert "rounded from float64 to float32" in out
    found, expected = captured("port.safetensors")[0], recording.load("plain.safetensors")
    for tap in ("loss", "blocks.1.attn.softmax", "blocks.0.norm1:dy", "pos_embed:grad"):
        off = np.linalg.norm(found[tap] - expected[tap])
        assert off <= tolerance("float32", 10_000) * np.linalg.norm(expected[tap]), tap
    code, _, err = run(capsys, "--torch", "port.py:none", *argv)
    assert code == 1
    assert "a NoneType" in err


def test_onnx(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    onnx: Any = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.verify.capture import onnx_vit, plain_vit

    onnx_vit.write(onnx, Path("port.onnx"))
    vitref.trace(plain_vit.weights(), onnx_vit.image(), [1, 2]).save("plain.safetensors")
    argv = ("--onnx", "port.onnx", "--trace", "plain.safetensors", "--out", "port.safetensors")
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    assert "no backward pass" in out
    assert "Left out, as no tap of vitref: " in out
    assert "blocks.1.attn.softmax" in captured("port.safetensors")[0]
    assert run(capsys, *argv, "--own-names")[0] == 0
    assert {"logits", "v7"} < set(captured("port.safetensors")[0])


def test_the_reference_is_not_overwritten(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(reference).read_bytes()
    code, _, err = run(capsys, "--python", "model.py:logits", "--trace", reference, "--out", f"./{reference}")
    assert code == 1
    assert "the file of --trace" in err
    assert Path(reference).read_bytes() == before
