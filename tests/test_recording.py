"""The file of a recording: what is written is read again, and nothing else passes for one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import vitref
from vitref import drawn, recording
from vitref.drawn import Drawn
from vitref.weights import mapped


@pytest.fixture(scope="module")
def model() -> Drawn:
    return drawn.draw("tiny-test", 0)


@pytest.fixture(scope="module")
def recorded(model: Drawn) -> vitref.Recording:
    return vitref.trace(model.weights, model.image, model.labels)


@pytest.fixture
def path(recorded: vitref.Recording, model: Drawn, tmp_path: Path) -> Path:
    recorded.save(tmp_path / "trace.safetensors", model.weights)
    return tmp_path / "trace.safetensors"


def test_is_read_as_written(path: Path, recorded: vitref.Recording, model: Drawn) -> None:
    again = recording.load(path)
    assert list(again) == list(recorded)
    assert (again.about, again.ran) == (recorded.about, recorded.ran)
    for name, array in recorded.items():
        assert again[name].dtype == array.dtype
        assert np.array_equal(again[name], array)
    assert np.array_equal(again.inputs["image"], model.image)
    assert np.array_equal(again.inputs["labels"], model.labels)


def test_weights_are_read_as_written(path: Path, model: Drawn) -> None:
    again = recording.load(path).weights
    assert again is not None
    assert again.config == model.weights.config
    assert list(again) == list(model.weights)
    assert again.source.sha256 == model.weights.source.sha256
    assert again.source.provenance == model.weights.source.provenance


def test_pass_can_be_repeated_from_the_file_alone(path: Path) -> None:
    again = recording.load(path)
    assert again.weights is not None
    repeated = vitref.trace(again.weights, again.inputs["image"], again.inputs["labels"])
    assert all(np.array_equal(repeated[name], again[name]) for name in again)


def test_saved_again_it_is_the_same_file(path: Path, tmp_path: Path) -> None:
    recording.load(path).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_without_weights_there_are_none(recorded: vitref.Recording, tmp_path: Path) -> None:
    recorded.save(tmp_path / "t.safetensors")
    assert recording.load(tmp_path / "t.safetensors").weights is None


def test_short_dtypes_pass(model: Drawn, tmp_path: Path) -> None:
    weights = model.weights.to(dtype="bfloat16")
    trace = vitref.trace(weights, model.image, cotangent={"pooled": np.ones((2, 12))}, dtype="float32")
    trace.save(tmp_path / "t.safetensors", weights)
    again = recording.load(tmp_path / "t.safetensors")
    assert again.weights is not None
    assert {array.dtype.name for array in again.weights.values()} == {"bfloat16"}
    assert list(again.inputs) == ["image", "cotangent.pooled"]


def test_taps_are_read_only(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        recording.load(path)["tokens"][:] = 0


def test_other_weights_are_not_saved(recorded: vitref.Recording, tmp_path: Path) -> None:
    with pytest.raises(vitref.ConfigError, match="those of the pass"):
        recorded.save(tmp_path / "t.safetensors", drawn.draw("tiny-test", 1).weights)
    assert not list(tmp_path.iterdir())


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The file with some tensors (None: left out) and fields of its metadata changed."""
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["trace"])
    about = {name: value for name, value in {**about, **changes}.items() if value is not ...}
    arrays = {name: a for name, a in {**load_file(path), **(tensors or {})}.items() if a is not None}
    save_file(arrays, path, {"trace": json.dumps(about)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "vitref trace 2"}, "found the format 'vitref trace 2'"),
        ({"inputs": ["labels"]}, "inputs cannot be read"),
        ({"weights": {"sha256": "0", "path": 5}}, "weights cannot be read"),
        ({"format": "trace"}, "metadata of 'trace'"),
        ({"format": ...}, "metadata of None"),
        ({"order": ...}, "metadata in which order cannot be read"),
        ({"order": ["tokens", "tokens"]}, "metadata in which order"),
        ({"order": ["tokens"]}, "tensors other than it lists"),
        ({"ran": {"head": 3}}, "metadata in which ran"),
        ({"config": []}, "metadata in which config"),
        ({"weights": {}, "inputs": "image"}, "metadata in which inputs, weights"),
        ({"config": {"width": 3}}, "settings of the model that are wrong"),
        ({"preprocessing": {"size": 3}}, "a preprocessing that is wrong"),
        ({"weights": {"sha256": "0"}}, "another sha256"),
        ({"tensors": {"extra": np.ones(2)}}, "tensors other than it lists: extra"),
        ({"tensors": {"tokens": None}}, "tensors other than it lists: tokens"),
        ({"tensors": {"input.image": None}}, "tensors other than it lists: input.image"),
        ({"tensors": {"weight.norm.bias": None}}, "norm.bias"),
        ({"tensors": {"weight.norm.bias": np.ones(3)}}, "norm.bias"),
    ],
)
def test_damaged_file_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(vitref.CheckpointError, match=message):
        recording.load(rewritten(path, **changes))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "3", "null"])
def test_damaged_metadata_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"tokens": np.ones(2)}, tmp_path / "t.safetensors", {"trace": text})
    with pytest.raises(vitref.CheckpointError, match="trace file"):
        recording.load(tmp_path / "t.safetensors")


def test_other_tensors_are_refused(tmp_path: Path, model: Drawn) -> None:
    model.weights.save(tmp_path / "w.safetensors")
    with pytest.raises(vitref.CheckpointError, match="without the metadata of a trace"):
        recording.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x20", b"\x08\0\0\0\0\0\0\0{}"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(vitref.CheckpointError):
        recording.load(tmp_path / "t.safetensors")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(vitref.CheckpointError):
            recording.load(path)


def test_cut_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(vitref.CheckpointError, match="bytes of data"):
        recording.load(path)


def test_mapped_tensors_are_those_of_the_file(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 3), np.float32)}
    save_file(tensors, tmp_path / "t.safetensors", {"key": "value"})
    found, metadata = mapped.map_tensors(tmp_path / "t.safetensors")
    assert metadata == {"key": "value"}
    for name, array in tensors.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
