"""Sharded checkpoints: read as one file, and every way in which an index and its files can disagree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.errors import CheckpointError
from vitref.weights import Weights, load
from vitref.weights.files import save_tensors
from vitref.weights.shards import INDEX

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
GIVEN: dict[str, Any] = {"heads": 3, "head_dim": 5, "convention": "timm", "position_grid": (3, 4)}


def write(folder: Path, weights: Weights) -> dict[str, str]:
    """Two shards, their tensors taken in turn, and the index that lists them."""
    names = sorted(weights)
    for shard, part in ((FIRST, names[::2]), (SECOND, names[1::2])):
        save_tensors(folder / shard, {name: weights[name] for name in part}, {"format": "pt"})
    places = {name: (FIRST, SECOND)[i % 2] for i, name in enumerate(names)}
    write_index(folder, places)
    return places


def write_index(folder: Path, places: Any) -> None:
    content = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(content))


def test_shards_are_read_as_one_file(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    for path in (tmp_path, tmp_path / INDEX):
        loaded = load(path, **GIVEN)
        assert loaded.source.sha256 == weights.source.sha256
        assert loaded.source.path == str(tmp_path / INDEX)


def test_one_file_is_taken_before_an_index(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    save_tensors(tmp_path / "model.safetensors", dict(weights), {})
    assert load(tmp_path, **GIVEN).source.path == str(tmp_path / "model.safetensors")


def test_a_missing_shard(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    (tmp_path / SECOND).unlink()
    with pytest.raises(CheckpointError, match=f"1 of 2 shards missing: {SECOND}"):
        load(tmp_path, **GIVEN)


@pytest.mark.parametrize(
    "shard",
    [
        "../model.safetensors",
        "/etc/passwd",
        "/elsewhere/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "pytorch_model.bin",
        ".safetensors",
        "",
        "a\0.safetensors",
        "a\n.safetensors",
    ],
)
def test_a_shard_that_does_not_lie_beside_the_index(weights: Weights, tmp_path: Path, shard: str) -> None:
    places = write(tmp_path, weights)
    write_index(tmp_path, {**places, "norm.bias": shard})
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **GIVEN)
    assert f"the shard {shard!a}" in caught.value.found


def test_a_tensor_in_two_shards(weights: Weights, tmp_path: Path) -> None:
    places = write(tmp_path, weights)
    second = {name: weights[name] for name, shard in places.items() if shard == SECOND}
    save_tensors(tmp_path / SECOND, {**second, "cls_token": weights["cls_token"]}, {})
    assert places["cls_token"] == FIRST
    with pytest.raises(CheckpointError, match=f"cls_token in {SECOND}, listed in {FIRST}"):
        load(tmp_path, **GIVEN)


def test_a_tensor_that_the_index_does_not_list(weights: Weights, tmp_path: Path) -> None:
    places = write(tmp_path, weights)
    del places["norm.bias"]
    write_index(tmp_path, places)
    with pytest.raises(
        CheckpointError, match="norm.bias in model-0000.-of-00002.safetensors, listed nowhere"
    ):
        load(tmp_path, **GIVEN)


def test_a_listed_tensor_that_no_shard_has(weights: Weights, tmp_path: Path) -> None:
    places = write(tmp_path, weights)
    write_index(tmp_path, {**places, "extra": FIRST})
    with pytest.raises(CheckpointError, match=f"extra, not in {FIRST}"):
        load(tmp_path, **GIVEN)


def test_a_tensor_that_the_index_lists_twice(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text.replace('"cls_token"', f'"cls_token": "{SECOND}", "cls_token"'))
    with pytest.raises(CheckpointError, match="the name 'cls_token' twice"):
        load(tmp_path, **GIVEN)


@pytest.mark.parametrize("places", [None, [], {}, "x", {"cls_token": 3}, {"cls_token": None}])
def test_an_index_without_a_proper_map(weights: Weights, tmp_path: Path, places: Any) -> None:
    write(tmp_path, weights)
    write_index(tmp_path, places)
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **GIVEN)
    assert caught.value.where == f"{tmp_path / INDEX}: weight_map"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"weight_map"' + b" " * 3_000_000])
def test_an_index_that_is_no_json_object(weights: Weights, tmp_path: Path, content: bytes) -> None:
    write(tmp_path, weights)
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **GIVEN)
    assert caught.value.where == str(tmp_path / INDEX)


def test_a_damaged_shard_is_named(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    (tmp_path / FIRST).write_bytes((tmp_path / FIRST).read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **GIVEN)
    assert caught.value.where == str(tmp_path / FIRST)


def test_links_that_lead_nowhere(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    (tmp_path / FIRST).unlink()
    (tmp_path / FIRST).symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="a link to a file that does not exist"):
        load(tmp_path, **GIVEN)
    (tmp_path / INDEX).unlink()
    (tmp_path / INDEX).symlink_to(tmp_path / INDEX)
    with pytest.raises(CheckpointError):
        load(tmp_path, **GIVEN)


def test_a_folder_of_pickles_says_how_to_convert_them(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path)
    assert "weights_only=True" in caught.value.remedy
    assert str(tmp_path / "pytorch_model.bin") in caught.value.remedy


def test_arrays_of_shards_are_read_only(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    with pytest.raises(ValueError, match="read-only"):
        np.multiply(loaded := load(tmp_path, **GIVEN)["norm.bias"], 2, out=loaded)
