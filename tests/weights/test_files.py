"""Reading and writing: bits come back, the public library agrees, and a failed write changes nothing."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from vitref.errors import CheckpointError
from vitref.weights import header
from vitref.weights.files import atomic_write, load_tensors, save_tensors

MIXED: dict[str, Any] = {
    "z.half": np.arange(3, dtype=np.float16),
    "a.double": np.arange(6.0).reshape(2, 3) / 7,
    "brain": np.arange(5).astype(ml_dtypes.bfloat16),
    "scalar": np.float32(3.5),
    "empty": np.zeros((0, 4), np.float32),
    "mask": np.array([True, False, True]),
    "big endian": np.arange(3, dtype=">i4"),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "naïve": np.array([1, 2], np.uint8),
}


def assert_same_bits(found: Any, expected: Any) -> None:
    array = np.asarray(expected)
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("<")
    assert found.tobytes() == array.astype(found.dtype).tobytes()


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    save_tensors(tmp_path / "f", MIXED, {"k": "v", "a": "ü"})
    tensors, metadata = load_tensors(tmp_path / "f")
    assert list(tensors) == list(MIXED)
    assert metadata == {"k": "v", "a": "ü"}
    for name, array in MIXED.items():
        assert_same_bits(tensors[name], array)
        assert tensors[name].flags.aligned


def test_the_safetensors_library_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    save_tensors(path, MIXED, {"k": "v"})
    found = safetensors.numpy.load_file(path)
    assert set(found) == set(MIXED)
    for name, array in MIXED.items():
        assert_same_bits(found[name], array)
    with safetensors.safe_open(path, framework="np") as opened:
        assert opened.metadata() == {"k": "v"}


def test_we_read_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    given = {name: np.ascontiguousarray(array) for name, array in MIXED.items() if name != "big endian"}
    safetensors.numpy.save_file(given, path, metadata={"k": "v"})
    tensors, metadata = load_tensors(path)
    assert metadata == {"k": "v"}
    for name, array in given.items():
        assert_same_bits(tensors[name], array)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    save_tensors(tmp_path / "one", MIXED, {"b": "1", "a": "2"})
    save_tensors(tmp_path / "two", MIXED, {"a": "2", "b": "1"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_arrays_cannot_be_written_to(tmp_path: Path) -> None:
    save_tensors(tmp_path / "f", MIXED, {})
    array = load_tensors(tmp_path / "f")[0]["a.double"]
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_unaligned_tensors_are_read(tmp_path: Path) -> None:
    one = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    text = one + b'"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}}'
    (tmp_path / "f").write_bytes(len(text).to_bytes(8, "little") + text + b"\x07" + np.float64(1.5).tobytes())
    found = load_tensors(tmp_path / "f")[0]["b"]
    assert found.tolist() == [1.5]
    assert found.flags.aligned


def test_a_byte_other_than_0_or_1_is_no_boolean(tmp_path: Path) -> None:
    text = b'{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "f").write_bytes(len(text).to_bytes(8, "little") + text + b"\x01\x02")
    with pytest.raises(CheckpointError, match="byte 2 in a BOOL"):
        load_tensors(tmp_path / "f")


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_never_changes_the_shape_of_the_rest(
    tmp_path_factory: Any, position: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    save_tensors(folder / "f", {"a": np.arange(4.0), "b": np.arange(3, dtype=np.float32)}, {"k": "v"})
    content = bytearray((folder / "f").read_bytes())
    content[position % len(content)] = byte
    (folder / "f").write_bytes(content)
    try:
        tensors, _ = load_tensors(folder / "f")
    except CheckpointError:
        return
    assert sum(array.nbytes for array in tensors.values()) == 44


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"a": np.zeros(2, np.complex128)}, {}, "complex128"),
        ({"a": np.array(["x"])}, {}, "rank 1"),
        ({"a": np.array([None])}, {}, "object"),
        ({"a": np.zeros((1,) * 9)}, {}, "rank 9"),
        ({"__metadata__": np.zeros(2)}, {}, "a tensor named __metadata__"),
        ({1: np.zeros(2)}, {}, "not text"),
        ({"\ud800": np.zeros(2)}, {}, "not text"),
        ({}, {"k": 1}, "not text"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path: Path, tensors: Any, metadata: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_tensors(tmp_path / "f", tensors, metadata)
    assert os.listdir(tmp_path) == []


def test_every_dtype_of_a_header_can_be_saved(tmp_path: Path) -> None:
    tensors = {name: np.ones(3, dtype) for name, dtype in header.DTYPES.items()}
    save_tensors(tmp_path / "f", tensors, {})
    found, _ = load_tensors(tmp_path / "f")
    assert {name: array.dtype for name, array in found.items()} == header.DTYPES


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_the_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "f") as file:
        file.write(b"new")
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_is_a_checkpoint_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_tensors(tmp_path / "f", {}, {})
    assert os.listdir(tmp_path) == []


def test_writing_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/f", "", "n" * 300])
def test_an_impossible_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_tensors(f"{tmp_path}/{name}", {}, {})


@pytest.mark.parametrize("path", [None, 3, b"f", "nul\0", "\ud800"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(CheckpointError, match="the path of a file"):
        save_tensors(path, {}, {})
    with pytest.raises(CheckpointError, match="the path of a file"):
        load_tensors(path)


def test_other_errors_of_the_block_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), atomic_write(tmp_path / "f"):
        raise ValueError("mine")
    assert os.listdir(tmp_path) == []


def test_what_is_not_a_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="not a file"), atomic_write(pipe):
        pass
    assert pipe.is_fifo()


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with atomic_write(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    with atomic_write(path) as file:
        file.write(b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
