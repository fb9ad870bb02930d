"""Every kind of file brings back what was written, lazily; damaged files give errors of vitref alone."""

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitref
from vitref.errors import CheckpointError, ConfigError
from vitref.verify.candidate import extras
from vitref.verify.candidate.files import opened
from vitref.weights.files import save_tensors
from vitref.weights.npz import save_arrays

Arrays = Mapping[str, Any]
Write = Callable[[Path, Arrays], Path]


def safetensors(folder: Path, arrays: Arrays) -> Path:
    save_tensors(folder / "a.safetensors", arrays, {})
    return folder / "a.safetensors"


def npz(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def compressed(folder: Path, arrays: Arrays) -> Path:
    np.savez_compressed(folder / "b.npz", **arrays)
    return folder / "b.npz"


def npy_folder(folder: Path, arrays: Arrays) -> Path:
    (folder / "npy").mkdir()
    for name, array in arrays.items():
        np.save(folder / "npy" / f"{name}.npy", array)
    return folder / "npy"


def nested_folder(folder: Path, arrays: Arrays) -> Path:
    for name, array in arrays.items():
        path = folder / "nested" / f"{name.replace('.', '/')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder / "nested"


def json_lists(folder: Path, arrays: Arrays) -> Path:
    (folder / "a.json").write_text(json.dumps({name: array.tolist() for name, array in arrays.items()}))
    return folder / "a.json"


def json_objects(folder: Path, arrays: Arrays) -> Path:
    described = {
        name: {"shape": list(array.shape), "data": array.ravel().tolist(), "dtype": str(array.dtype)}
        for name, array in arrays.items()
    }
    (folder / "b.json").write_text(json.dumps(described))
    return folder / "b.json"


WRITERS: list[Write] = [safetensors, npz, compressed, npy_folder, nested_folder, json_lists, json_objects]


@settings(max_examples=6, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["float64", "float32", "float16"]))
@pytest.mark.parametrize("write", WRITERS)
def test_taps_come_back_from_every_kind_of_file(
    case: Any, tmp_path_factory: pytest.TempPathFactory, write: Write, data: st.DataObject, dtype: str
) -> None:
    taps = data.draw(st.sets(st.sampled_from(list(case.trace)), min_size=1, max_size=5))
    if write in (json_lists, npz):
        dtype = "float64" if write is json_lists else dtype
    arrays = {tap: case.trace[tap].astype(dtype) for tap in taps}
    candidate = case.open(write(tmp_path_factory.mktemp("files"), arrays))
    assert list(candidate) == [tap for tap in case.trace if tap in taps]
    for tap, array in arrays.items():
        assert candidate[tap].dtype == array.dtype
        assert candidate.dtype(tap) == dtype
        assert candidate.shape(tap) == array.shape
        assert np.array_equal(candidate[tap], array)
        assert not candidate[tap].flags.writeable


def test_a_trace_of_ours_brings_what_made_it(case: Any, tmp_path: Path) -> None:
    case.trace.save(tmp_path / "t.safetensors")
    candidate = case.open(tmp_path / "t.safetensors")
    assert list(candidate) == list(case.trace)
    assert candidate.renamed == {}
    assert list(candidate.inputs) == ["image", "labels"]
    assert np.array_equal(candidate.inputs["image"], case.trace.inputs["image"])
    assert candidate.about["format"] == "vitref trace 1"
    in_memory = case.open(case.trace)
    assert list(in_memory) == list(case.trace)
    assert dict(in_memory.about) == json.loads(json.dumps(case.trace.about))


def test_inputs_and_weights_are_no_taps(case: Any) -> None:
    arrays = {
        "logits": case.trace["logits"],
        "input.labels": np.array([1, 2]),
        "weight.head.bias": case.weights["head.bias"],
    }
    candidate = case.open(arrays)
    assert list(candidate) == ["logits"]
    assert candidate.inputs["labels"].tolist() == [1, 2]
    assert list(candidate.weights) == ["head.bias"]
    assert list(extras(arrays).inputs) == ["labels"]


def test_a_cotangent_of_another_name_fits_in_an_archive(case: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"head:dy": case.trace["head:dy"]})
    assert list(case.open(tmp_path / "a.npz")) == ["head:dy"]


def test_bfloat16_keeps_its_dtype(case: Any, tmp_path: Path) -> None:
    array = case.trace["logits"].astype(ml_dtypes.bfloat16)
    save_tensors(tmp_path / "a.safetensors", {"logits": array}, {})
    save_arrays(tmp_path / "a.npz", {"logits": array}, {})
    for name in ("a.safetensors", "a.npz"):
        read = case.open(tmp_path / name)["logits"]
        assert read.dtype == ml_dtypes.bfloat16
        assert np.array_equal(read.view(np.uint16), array.view(np.uint16))


def test_kinds_are_read_from_the_bytes(case: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", case.trace["logits"])
    (tmp_path / "logits.npy").rename(tmp_path / "logits.safetensors")
    assert np.array_equal(case.open(tmp_path / "logits.safetensors")["logits"], case.trace["logits"])


def test_a_safetensors_file_may_begin_as_an_archive_does(case: Any, tmp_path: Path) -> None:
    """Its first bytes are the length of the header, and 0x4B50 is PK."""
    length = int.from_bytes(b"PK", "little")
    header = json.dumps({"logits": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).ljust(length)
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.encode() + np.ones(2, np.float32).tobytes())
    assert np.array_equal(opened(path).arrays["logits"].read(), [1, 1])


def test_a_single_array_is_the_final_output(case: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "result.npy", case.trace["logits"])
    candidate = case.open(tmp_path / "result.npy")
    assert list(candidate) == ["logits"]
    assert candidate.renamed == {"logits": "result"}
    assert "logits" in candidate.remarks[0]


def test_json_of_one_list_and_short_numbers(case: Any, tmp_path: Path) -> None:
    short = case.trace["logits"].astype(np.float32)
    text = [[float(f"{value:.9g}") for value in row] for row in short.tolist()]
    (tmp_path / "logits.json").write_text(json.dumps(text))
    read = case.open(tmp_path / "logits.json")["logits"]
    assert read.dtype == np.float32
    assert np.array_equal(read, short)


def test_json_of_float32_numbers_written_as_float64(case: Any, tmp_path: Path) -> None:
    values = case.trace["logits"].astype(np.float32)
    (tmp_path / "logits.json").write_text(json.dumps(values.tolist()))
    read = case.open(tmp_path / "logits.json")["logits"]
    assert read.dtype == np.float32
    assert np.array_equal(read, values)


def test_json_of_float64_numbers_stays_float64(case: Any, tmp_path: Path) -> None:
    (tmp_path / "logits.json").write_text(json.dumps(case.trace["logits"].tolist()))
    read = case.open(tmp_path / "logits.json")["logits"]
    assert read.dtype == np.float64
    assert np.array_equal(read, case.trace["logits"])


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [10**24, 0], "data": []},
        {"shape": [2], "data": [0.7, 1.2], "dtype": "int64"},
        {"shape": [2, 5], "data": [1] * 9},
    ],
)
def test_json_whose_shape_or_dtype_does_not_fit(case: Any, tmp_path: Path, entry: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"logits": entry}))
    with pytest.raises(CheckpointError, match="logits"):
        case.open(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\ud800"])
@pytest.mark.parametrize("value", [[[0.5] * 5] * 2, 3])
def test_names_that_a_terminal_would_act_on(case: Any, tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps({name: value}))
    with pytest.raises(CheckpointError) as raised:
        case.open(tmp_path / "a.json")
    assert str(raised.value).isprintable()


def test_json_integers_are_numbers_of_a_tap(case: Any, tmp_path: Path) -> None:
    content = {"logits": [[0, 1, 2, 3, 4]] * 2, "input.labels": [1, 2]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    candidate = case.open(tmp_path / "a.json")
    assert candidate["logits"].dtype == np.float32
    assert candidate.inputs["labels"].dtype == np.int64


def test_a_manifest_names_the_files(case: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "000.npy", case.trace["logits"])
    (tmp_path / "manifest.json").write_text('{"files": {"000.npy": "logits"}}')
    assert list(case.open(tmp_path)) == ["logits"]
    (tmp_path / "manifest.json").write_text('{"files": {"000.npy": "logits", "001.npy": "head"}}')
    with pytest.raises(CheckpointError, match=r"001\.npy"):
        case.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"files": ["000.npy"]}')
    with pytest.raises(ConfigError, match="object from file"):
        case.open(tmp_path)


def test_two_files_of_one_name(case: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", case.trace["logits"])
    np.savez(tmp_path / "a.npz", logits=case.trace["logits"])
    with pytest.raises(CheckpointError, match="twice"):
        case.open(tmp_path)


@pytest.mark.parametrize("write", [safetensors, npz, npy_folder])
def test_arrays_are_read_one_at_a_time(tmp_path: Path, write: Write) -> None:
    arrays = {f"a{i}": np.full(250_000, float(i)) for i in range(8)}
    path = write(tmp_path, arrays)
    tracemalloc.start()
    for name, stored in opened(path).arrays.items():
        assert stored.read()[0] == float(name[1:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2_000_000


def test_a_damaged_member_of_an_archive_gives_no_values(case: Any, tmp_path: Path) -> None:
    path = npz(tmp_path, {"logits": case.trace["logits"], "head": case.trace["head"]})
    content = path.read_bytes()
    value = case.trace["head"].tobytes()[:8]
    path.write_bytes(content[: content.rindex(value)] + bytes(8) + content[content.rindex(value) + 8 :])
    with pytest.raises(CheckpointError, match="head"):
        case.open(path)["head"]


BAD = {
    "empty.safetensors": b"",
    "empty.npy": b"",
    "text.json": b"hello",
    "list.json": b"[[1, 2], [3]]",
    "text_inside.json": b'{"logits": ["a"]}',
    "twice.json": b'{"logits": [1], "logits": [2]}',
    "number.json": b'{"logits": 3}',
    "shape.json": b'{"logits": {"shape": [3], "data": [1, 2]}}',
    "dtype.json": b'{"logits": {"shape": [2], "data": [1, 2], "dtype": "float8"}}',
    "truth.json": b'{"logits": [true, false]}',
    "nothing.json": b"{}",
    "cut.npy": b"\x93NUMPY\x01\x00",
    "picture.png": b"\x89PNG\r\n\x1a\n",
    "archive.npz": b"PK\x03\x04",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(case: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(vitref.Error) as caught:
        case.open(tmp_path / name)
    assert caught.value.where.startswith(str(tmp_path))
    assert caught.value.remedy[0].isupper()
    assert caught.value.remedy.endswith((".", '"'))


def test_a_folder_without_arrays_and_a_missing_file(case: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(CheckpointError, match="no array in it"):
        case.open(tmp_path)
    with pytest.raises(CheckpointError, match="no file of this name"):
        case.open(tmp_path / "missing.npz")


def test_values_of_a_mapping_must_be_arrays(case: Any) -> None:
    with pytest.raises(ConfigError, match="an array of numbers"):
        case.open({"logits": object()})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("write", [safetensors, npz, compressed, npy_folder, json_objects])
def test_damaged_files_give_errors_of_vitref(
    case: Any, tmp_path_factory: pytest.TempPathFactory, write: Write, data: st.DataObject
) -> None:
    path = write(
        tmp_path_factory.mktemp("damaged"), {"logits": case.trace["logits"], "head": case.trace["head"]}
    )
    file = path if path.is_file() else next(iter(sorted(path.iterdir())))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 20]))])
    try:
        candidate = case.open(path)
        for tap in candidate:
            candidate[tap]
    except vitref.Error:
        pass
