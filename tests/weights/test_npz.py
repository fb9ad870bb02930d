"""NumPy archives: what is read and written, and that every malformed one is refused unread."""

import contextlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitref.errors import CheckpointError
from vitref.weights import npz
from vitref.weights.npz import load_arrays, save_arrays

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"]


def npy(array: npt.NDArray[Any], **given: Any) -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array(data, array, **given)
    return data.getvalue()


def header(text: str, version: int = 1, data: bytes = b"") -> bytes:
    """A .npy file of this header and data, whatever they say."""
    raw = text.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<L", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + length + raw + data


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def refused(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_arrays(path)
    assert caught.value.where.startswith(str(path))
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(write: Callable[..., None], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"a/{dtype}": rng.integers(0, 100, (2, 3)).astype(dtype) for dtype in DTYPES}
    arrays |= {"scalar": np.array(3, "f4"), "empty": np.zeros((0, 2), "f4"), "rank8": np.zeros((1,) * 8)}
    write(tmp_path / "a.npz", **arrays)
    found, metadata = load_arrays(tmp_path / "a.npz")
    assert metadata == {}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


def test_orders_of_bytes_and_memory_do_not_matter(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((2, 3, 4)).astype("f4")
    given: dict[str, Any] = {"big": values.astype(">f4"), "fortran": np.asfortranarray(values)}
    given["both"] = np.asfortranarray(given["big"])
    np.savez(tmp_path / "a.npz", **given)
    for array in load_arrays(tmp_path / "a.npz")[0].values():
        assert array.dtype == np.dtype("f4")
        np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("descr", ["<V2", "|V2"])
def test_two_byte_voids_are_bfloat16(descr: str, tmp_path: Path) -> None:
    values = np.array([[1, -2, 3.140625]], ml_dtypes.bfloat16)
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 3), }}"
    archive(tmp_path / "a.npz", {"w.npy": header(text, data=values.tobytes())})
    found = load_arrays(tmp_path / "a.npz")[0]["w"]
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found, values)


def test_headers_of_python_2_and_of_version_2_are_read(tmp_path: Path) -> None:
    old = header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }", data=bytes(8))
    members = {"old.npy": old, "new.npy": npy(np.ones(3), version=(2, 0))}
    assert {name: a.shape for name, a in load_arrays(archive(tmp_path / "a.npz", members))[0].items()} == {
        "old": (2,),
        "new": (3,),
    }


def test_what_is_saved_comes_back_and_numpy_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    arrays = {
        "a/b": rng.standard_normal((2, 3)).astype("f4"),
        "turned": rng.standard_normal((3, 2)).T,
        "half": rng.standard_normal(5).astype(ml_dtypes.bfloat16),
        "big": np.arange(3, dtype=">i4"),
        "scalar": np.array(3.5),
    }
    metadata = {"vitref": json.dumps({"version": 1}), "who": "é"}
    for name in ("one.npz", "two.npz"):
        save_arrays(tmp_path / name, arrays, metadata)
    found, texts = load_arrays(tmp_path / "one.npz")
    assert texts == metadata
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as theirs:
        assert set(theirs.files) == set(arrays)
        np.testing.assert_array_equal(theirs["a/b"], arrays["a/b"])
        np.testing.assert_array_equal(theirs["half"].view(ml_dtypes.bfloat16), arrays["half"])


@pytest.mark.parametrize(
    ("arrays", "metadata", "reason"),
    [
        ({"a": np.array(["x"])}, {}, "<U1 of rank 1"),
        ({"a": np.array([{}])}, {}, "Python objects"),
        ({"a": np.zeros(1, complex)}, {}, "complex128"),
        ({"a": np.zeros((1,) * 9)}, {}, "rank 9"),
        ({"../a": np.zeros(1)}, {}, "not plain"),
        ({"": np.zeros(1)}, {}, "not plain"),
        ({"a": np.zeros(1)}, {"long": "x" * 70_000}, "bytes of metadata"),
    ],
)
def test_what_cannot_be_stored_is_not_written(
    arrays: dict[str, Any], metadata: dict[str, str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        save_arrays(tmp_path / "a.npz", arrays, metadata)
    assert not list(tmp_path.iterdir())


def test_a_comment_of_someone_else_is_no_metadata(tmp_path: Path) -> None:
    for comment in (b"hello", b"\xff\xfe", b"[1]", b'{"a": 1}', b"[" * 60_000):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("a.npy", npy(np.zeros(2)))
            file.comment = comment
        assert load_arrays(tmp_path / "a.npz")[1] == {}


class Bomb:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("exploded", "w"))


def test_objects_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", weight=np.zeros(2), bad=np.array([Bomb()]), allow_pickle=True)
    error = refused(tmp_path / "a.npz")
    assert error.where.endswith("a.npz: bad")
    assert "Python objects" in error.found
    assert not (tmp_path / "exploded").exists()


def test_pytorch_files_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.npz", {"model/data.pkl": pickle.dumps(Bomb()), "model/data/0": bytes(9)})
    error = refused(path)
    assert "any code" in error.found
    assert "weights_only=True" in error.remedy
    assert str(path) in error.remedy


@pytest.mark.parametrize(
    "name",
    [
        "../a.npy",
        "/a.npy",
        "a/../b.npy",
        "a//b.npy",
        "./a.npy",
        "C:/a.npy",
        "a\\b.npy",
        "a\n.npy",
        ".npy",
        "a/",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    assert "a path that is not plain" in refused(archive(tmp_path / "a.npz", {name: npy(np.zeros(2))})).found


def test_names_with_a_hidden_end_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy_b": npy(np.zeros(2))})
    path.write_bytes(path.read_bytes().replace(b"a.npy_b", b"a.npy\0b"))
    assert refused(path).found


def test_members_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    for name in ("readme.txt", "a", "a.npy.txt"):
        assert "no array" in refused(archive(tmp_path / "a.npz", {name: b"text"})).found
    for data in (b"", b"text", b"\x93NUMPY", b"\x93NUMPY\1\0\xff\xff", npy(np.zeros(2))[:-20]):
        assert refused(archive(tmp_path / "a.npz", {"a.npy": data})).where.endswith("a.npz: a")


def test_duplicates_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(2)), "b.npy": npy(np.ones(2))})
    path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
    assert "a.npy more than once" in refused(tmp_path / "a.npz").found


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 0), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 2), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }",
        "{'descr': '<f4', 'shape': (2,), }",
        "{'descr': '(2,)f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|b1', 'fortran_order': False, 'shape': (8,), }",
        "{'descr': '|S8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|V4', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': ",
        "__import__('os').mkdir('exploded')",
        "(" * 2000,
        " " * 60_000,
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_headers_that_do_not_fit_are_refused(
    text: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "a.npz", {"a.npy": header(text, version, bytes(8))})
    assert refused(path).where.endswith("a.npz: a")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [("(-1, -2)", "the shape (-1, -2)"), ("(True, 2)", "the shape (True, 2)"), ("(3,)", "8 bytes of data")],
)
def test_shapes_that_do_not_fit_are_named(shape: str, reason: str, tmp_path: Path) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    error = refused(archive(tmp_path / "a.npz", {"a.npy": header(text, data=bytes(8))}))
    assert error.found == reason
    assert "exactly" not in error.expected


def test_other_versions_of_the_format_are_refused(tmp_path: Path) -> None:
    data = bytearray(npy(np.zeros(2)))
    data[6] = 3
    assert "version (3, 0)" in refused(archive(tmp_path / "a.npz", {"a.npy": bytes(data)})).found


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    kinds = {
        b"": "empty",
        b"version https://git-lfs.github.com/spec/v1\n": "Git LFS",
        b"<!DOCTYPE html><html>": "web page",
        npy(np.zeros(2)): "a NumPy array",
        b"PK\x05\x06" + bytes(18): "PK",
        b"PK\x03\x04" + bytes(100): "no directory",
    }
    for data, reason in kinds.items():
        (tmp_path / "a.npz").write_bytes(data)
        assert reason in refused(tmp_path / "a.npz").found
    assert "no file" in refused(tmp_path / "none.npz").found
    assert "folder" in refused(tmp_path).found
    os.symlink(tmp_path / "loop.npz", tmp_path / "loop.npz")
    assert "link" in refused(tmp_path / "loop.npz").found


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(99))}, compression)
    assert "compression method" in refused(path).found


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(2))})
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    path.write_bytes(data)
    assert refused(path).found == "an encrypted member"


def peak(path: Path) -> tuple[CheckpointError, int]:
    """The refusal of `path`, and how much memory it took at most."""
    tracemalloc.start()
    try:
        error = refused(path)
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_decompression_bombs_are_refused_before_they_are_inflated(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(40 * 2**20, "u1"))
    error, memory = peak(tmp_path / "a.npz")
    assert "decompression bomb" in error.found
    assert memory < 2**20


def test_bombs_that_lie_about_their_size_are_not_inflated(tmp_path: Path) -> None:
    """The directory says 200 bytes, the header 40 MiB or 72 bytes, and the data inflates to 40 MiB."""
    for shape in ("(41943040,)", "(72,)"):
        member = header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117))
        path = archive(tmp_path / "a.npz", {"a.npy": member + bytes(40 * 2**20)}, zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            struct.pack_into("<L", data, data.index(signature) + place, 200)
        path.write_bytes(data)
        error, memory = peak(path)
        assert "a.npz: a" in error.where
        assert memory < 2 * 2**20


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """Two entries of the directory that point to the same data, as in bombs that nest nothing."""
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(5000)), "b.npy": npy(np.zeros(5000))})
    data = path.read_bytes()
    start, second, directory = (
        data.index(b"PK\x03\x04"),
        data.index(b"PK\x03\x04", 9),
        data.index(b"PK\x01\x02"),
    )
    entries = bytearray(data[directory:])
    struct.pack_into("<L", entries, entries.index(b"PK\x01\x02", 9) + 42, start)
    struct.pack_into("<L", entries, entries.index(b"PK\x05\x06") + 16, second)
    path.write_bytes(data[:second] + entries)
    assert refused(path).found == "members that overlap"


def test_huge_directories_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(2))})
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x05\x06") + 12, npz.MAX_DIRECTORY + 1)
    path.write_bytes(data)
    assert "a directory of" in refused(path).found


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", {"a": np.arange(4.0), "b": np.arange(3)}, {"who": "me"})
    data = (tmp_path / "a.npz").read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut.npz").write_bytes(data[:length])
        refused(tmp_path / "cut.npz")


def test_every_damaged_byte_of_the_data_is_noticed(tmp_path: Path) -> None:
    values = np.arange(4.0)
    save_arrays(tmp_path / "a.npz", {"a": values}, {})
    data = (tmp_path / "a.npz").read_bytes()
    place = data.index(values.tobytes())
    for offset in range(values.nbytes):
        damaged = bytearray(data)
        damaged[place + offset] ^= 1
        (tmp_path / "bad.npz").write_bytes(damaged)
        assert "CRC" in refused(tmp_path / "bad.npz").found


WHOLE: dict[str, Any] = {
    "a/kernel": np.arange(12, dtype="f4").reshape(3, 4),
    "b": np.arange(3.0),
    "c": np.array(2, "f4"),
}


def whole(compressed: bool) -> bytes:
    data = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(data, **WHOLE)
    return data.getvalue()


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "double"]), st.integers(0, 2**16), st.integers(0, 255)
    ),
    min_size=1,
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(compressed=st.booleans(), edits=EDITS)
def test_fuzzed_archives_raise_nothing_else(
    compressed: bool, edits: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    """Edited anywhere, an archive is refused, or gives arrays of numbers that its bytes can hold."""
    data = bytearray(whole(compressed))
    for kind, place, value in edits:
        at = place % len(data)
        replacement = {
            "set": bytes([value]),
            "insert": bytes([value]) + data[at : at + 1],
            "delete": b"",
            "double": data[at : at + value] * 2,
        }[kind]
        data[at : at + (value if kind == "double" else 1)] = replacement
    (tmp_path / "a.npz").write_bytes(data)
    with contextlib.suppress(CheckpointError):
        found, _ = load_arrays(tmp_path / "a.npz")
        assert sum(array.nbytes for array in found.values()) <= npz.FACTOR * len(data) + npz.ALLOWANCE
