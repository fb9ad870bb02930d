"""Files that are not checkpoints: each named for what it is, and a pickle never opened."""

import os
import pickle
import shlex
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vitref.errors import CheckpointError
from vitref.weights import load, refusals
from vitref.weights.files import load_tensors


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model.safetensors"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "gone off"))
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="weights_only=True"):
        load(tmp_path / name)
    assert not (tmp_path / "gone off").exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_known_by_its_first_bytes(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "model").write_bytes(pickle.dumps({"a": np.ones(3)}, protocol=protocol))
    with pytest.raises(CheckpointError, match="pickle"):
        load_tensors(tmp_path / "model")


def test_a_zip_is_refused_unopened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(CheckpointError, match="PyTorch or pickle"):
        load_tensors(tmp_path / "model")


def test_the_command_is_python_with_both_names_in_it() -> None:
    name = 'it\'s "odd" $HOME.pth'
    command, flag, program = shlex.split(refusals.conversion(name))
    assert (command, flag) == ("python", "-c")
    compile(program, "command", "exec")
    assert repr(name) in program
    assert repr(name[:-4] + ".safetensors") in program


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("m.safetensors", b"", "an empty file"),
        ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("m.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("m.safetensors", b"\n<!DOCTYPE html><html>", "a web page"),
        ("m.safetensors", b"<HTML>", "a web page"),
        ("m.h5", b"\x89HDF", "an HDF5 file"),
        ("m.safetensors", b"hello, world,\nthis is text", "text that begins 'hello, world, this is text'"),
        ("m.safetensors", b"hi", "text that begins 'hi'"),
        ("m.safetensors", "häuser".encode()[:2], "text that begins 'h'"),
        ("m.safetensors", b'{"a": ' + b"1" * 600, 'text that begins \'{"a": 111'),
        ("m.safetensors", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        ("m.npz", b"\x89PNG\r\n\x1a\n\0", "a PNG picture"),
        ("m.png", b"RIFF\1\2\3\4WEBPVP8 ", "a WebP picture"),
        ("m", b"\x93NUMPY\1\0", "a NumPy array"),
        ("m.gz", b"\x1f\x8b\x08\0", "a file compressed by gzip"),
        ("m.safetensors", bytes(7) + b"\1 not text", "a header of"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_tensors(tmp_path / name)
    assert found in caught.value.found
    assert caught.value.where == str(tmp_path / name)


def test_a_picture_in_the_place_of_weights(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(600))
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "cat.png")
    assert caught.value.remedy == "Give a checkpoint here: the weights come first, the picture second."


@pytest.mark.parametrize("length", [0x4D42, 0x8B1F, 0x0280, 0x010280, 0x0580])
def test_a_header_length_is_not_taken_for_a_pickle(length: int) -> None:
    refusals.check("m.safetensors", length.to_bytes(8, "little") + b'{"a"')


def test_the_command_never_writes_to_its_source() -> None:
    assert "'m.converted.safetensors')" in refusals.conversion("m.safetensors")
    assert "'m.safetensors')" in refusals.conversion("m.bin")


def test_the_command_is_readable_where_the_name_allows_it() -> None:
    command = refusals.conversion("/a folder/model.pth")
    assert command.startswith('python -c "import torch; ')
    assert "torch.load('/a folder/model.pth', map_location='cpu', weights_only=True)" in command
    assert shlex.split(refusals.conversion("a`b.pth"))[2].count("'a`b.pth'") == 1


def test_links(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CheckpointError, match="a file that does not exist"):
        load(tmp_path / "dangling")
    with pytest.raises(CheckpointError, match="leads back to itself"):
        load(tmp_path / "loop")


@pytest.mark.parametrize("name", ["missing", "missing/model.safetensors", "n" * 300])
def test_paths_without_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="a file that can be read"):
        load(f"{tmp_path}/{name}")


def test_kinds_other_than_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="a device, pipe or socket"):
        load(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="a folder"):
        load_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="the path of a file"):
        load(3)  # type: ignore[arg-type]


def test_a_file_without_permission_is_refused() -> None:
    error = refusals.unreadable("m", PermissionError(13, "Permission denied"))
    assert "may not read" in error.found
    refusals.check_kind("m", stat.S_IFREG)


def test_nothing_reads_with_pickle() -> None:
    program = (
        "import vitref.weights, sys; print([m for m in ('torch', 'pickle5', 'joblib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == "[]"
