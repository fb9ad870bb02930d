"""Opening what a candidate is: a file, a folder of files, or arrays in memory; of any kind that is read.

The kind of a file is read from its first bytes, not from its name. In a folder, a .npy file and a JSON file
of one array are named by their path from the folder, without the ending; the arrays of the other kinds have
their own names. A manifest.json may give other names: {"files": {"000.npy": "blocks.0", ...}}.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitref.errors import CheckpointError, ConfigError
from vitref.interchange import on_host
from vitref.json_files import read_object
from vitref.recording import Recording
from vitref.verify.candidate import json_file, numpy_files
from vitref.verify.candidate.stored import Stored, of_array
from vitref.weights import refusals
from vitref.weights.files import StrPath, path_text
from vitref.weights.mapped import map_tensors

SUFFIXES = (".safetensors", ".npz", ".npy", ".json")
MANIFEST = "manifest.json"
_SKIPPED = ("config.json", ".index.json", MANIFEST)
"""How the names of JSON files end that hold no arrays."""


@dataclass(frozen=True)
class Dump:
    """where     the file or folder, for messages
    arrays    name -> array
    metadata  text of the file's own, where its format has such
    """

    where: str
    arrays: Mapping[str, Stored]
    metadata: Mapping[str, str] = field(default_factory=dict)


def opened(source: StrPath | Mapping[str, Any] | Dump) -> Dump:
    """The arrays of a file, a folder, a mapping from names to arrays, or a Recording; none is read yet.

    Raises CheckpointError for a missing, empty, damaged or foreign file, a folder without arrays, and names
    with control characters; ConfigError for a mapping of something else.
    """
    if isinstance(source, Dump):
        return source
    dump = _of_mapping(source) if isinstance(source, Mapping) else _of_path(path_text(source))
    if not dump.arrays:
        raise _no_arrays(dump.where, "no array in it")
    strange = next((name for name in dump.arrays if not name.isprintable()), None)
    if strange is not None:
        raise CheckpointError(
            dump.where,
            found=f"the name {ascii(strange)[:60]}",
            expected="names without control characters, which would be printed",
            remedy="Rename the array.",
        )
    return dump


def _of_mapping(source: Mapping[str, Any]) -> Dump:
    where = "the candidate"
    arrays, about = dict(source), getattr(source, "about", None)
    if isinstance(source, Recording):
        arrays |= {f"input.{name}": array for name, array in source.inputs.items()}
    metadata = {"trace": json.dumps(about)} if isinstance(about, dict) else {}
    stored = {str(name): _of_value(str(name), value, where) for name, value in arrays.items()}
    return Dump(where, stored, metadata)


def _of_value(name: str, value: Any, where: str) -> Stored:
    array = np.asarray(on_host(f"{where}: {name}", value))
    if array.dtype.kind == "O":
        raise ConfigError(
            f"{where}: {name}",
            found=f"a value of type {type(value).__name__}",
            expected="an array of numbers",
            remedy="Give every value as an array; for a torch tensor, tensor.detach().cpu().numpy().",
        )
    return of_array(name, array, f"{where}: {name}")


def _of_path(where: str) -> Dump:
    if os.path.isdir(where):
        return Dump(where, _of_folder(where))
    stem = os.path.splitext(os.path.basename(where))[0]
    arrays, metadata = _of_file(where, stem)
    return Dump(where, arrays, metadata)


def _of_file(where: str, stem: str) -> tuple[dict[str, Stored], Mapping[str, str]]:
    head = _head(where)
    if head.startswith(b"\x93NUMPY"):
        return {stem: numpy_files.opened_array(where, stem)}, {}
    if head.startswith(b"PK\x05\x06"):
        raise _no_arrays(where, "an archive without members")
    if head.startswith(b"PK\x03\x04"):
        return numpy_files.opened(where)
    if head[8:9] == b"{" and b"\0" in head[:8]:
        tensors, metadata = map_tensors(where)
        return {name: of_array(name, array, f"{where}: {name}") for name, array in tensors.items()}, metadata
    if head.lstrip()[:1] in (b"{", b"["):
        return json_file.opened(where, stem), {}
    raise _no_arrays(where, f"a file that begins with {ascii(head[:8])}" if head else "an empty file")


def _head(where: str) -> bytes:
    try:
        refusals.check_kind(where, os.stat(where).st_mode)
        with open(where, "rb") as file:
            return file.read(64)
    except OSError as error:
        raise refusals.unreadable(where, error) from error


def _of_folder(folder: str) -> dict[str, Stored]:
    names = _manifest(folder)
    found: dict[str, Stored] = {}
    for path in _files(folder):
        relative = os.path.relpath(path, folder).replace(os.sep, "/")
        stem = names.get(relative, os.path.splitext(relative)[0])
        arrays, _ = _of_file(path, stem)
        twice = [name for name in arrays if name in found]
        if twice:
            raise CheckpointError(
                folder,
                found=f"{twice[0]!r} twice: {found[twice[0]].where} and {arrays[twice[0]].where}",
                expected="every name once",
                remedy="Remove one of the two.",
            )
        found |= arrays
    missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise CheckpointError(
            f"{folder}/{MANIFEST}",
            found=f"{len(missing)} files that are not there: {', '.join(missing[:5])}",
            expected="files of this folder",
            remedy="Write the missing files, or take them out of the manifest.",
        )
    return found


def _manifest(folder: str) -> dict[str, str]:
    """File -> name of its array, where the folder has a manifest that says so."""
    path = os.path.join(folder, MANIFEST)
    if not os.path.isfile(path):
        return {}
    files = read_object(path).get("files", {})
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise ConfigError(
            f"{path}: files",
            found=ascii(files)[:60],
            expected="an object from file to the name of its array",
            remedy='Write {"files": {"000.npy": "blocks.0"}}, say, or leave the entry out.',
        )
    return files


def _files(folder: str) -> list[str]:
    def unreadable(error: OSError) -> None:
        raise refusals.unreadable(str(error.filename or folder), error) from error

    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, onerror=unreadable)
        for name in names
        if name.endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(_SKIPPED)
    )


def _no_arrays(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        where,
        found=found,
        expected=f"taps of a model in {', '.join(SUFFIXES)}, or a folder of such files",
        remedy="Write what the candidate computed, each output under its name, in one of these forms; "
        "`vitref capture` records a model.",
    )
