"""Small JSON files: one object, in UTF-8, of a bounded size; all else is an error that names the file."""

import json
import os
from pathlib import Path

import pytest

from vitref.errors import ConfigError
from vitref.json_files import LARGEST, read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": {"b": [1, None, "ü"]}}), encoding="utf-8")
    assert read_object(path) == {"a": {"b": [1, None, "ü"]}}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"a": "\xff"}', "no JSON"),
        (b'{"a":' * 100_000, "no JSON"),
        (b"[1]", "a JSON list"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' twice"),
        (b" " * (LARGEST + 1), f"more than {LARGEST:,} bytes"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)
def test_anything_else_is_not(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_object(path)
    assert caught.value.found.startswith(found)
    assert caught.value.where == str(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(link)
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path in (tmp_path, tmp_path / "gone.json", link, pipe, tmp_path / "a\0b"):
        with pytest.raises(ConfigError):
            read_object(path)
