"""Files of tensors: reading and writing safetensors, and writing any file whole or not at all.

Nothing here can execute code: a pickle is refused without being opened as one. The header is checked
here first, because the safetensors library accepts a name twice; the library then reads the tensors.
Writing is done here, because the library orders metadata at random, and equal input should give equal bytes.
"""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors

from vitref.errors import CheckpointError
from vitref.weights import header, refusals

StrPath: TypeAlias = str | os.PathLike[str]

_NAMES = {dtype: name for name, dtype in header.DTYPES.items()}


def load_tensors(path: StrPath) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Every tensor of a safetensors file (read-only, in the header's order), and the file's metadata.

    Raises CheckpointError for a missing, unreadable, damaged or foreign file.
    """
    name = path_text(path)
    content = read_bytes(path, refusals.check)
    entries, metadata, _ = header.parse(content, name)
    stored = _deserialized(content, name)
    del content  # the copies that follow must not add to it
    return {entry.name: _array(bytes(stored.pop(entry.name)), entry, name) for entry in entries}, metadata


def read_metadata(path: StrPath) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors. Raises CheckpointError as above."""
    name = path_text(path)
    try:
        refusals.check_kind(name, os.stat(name).st_mode)
        with open(name, "rb") as file:
            head = file.read(512)
            refusals.check(name, head)
            file.seek(0)
            return header.metadata(file.read(header.PREFIX + header.MAX_HEADER), name)
    except OSError as error:
        raise refusals.unreadable(name, error) from error


def save_tensors(path: StrPath, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all; equal input gives equal bytes.

    Raises CheckpointError when a dtype or the metadata cannot be stored, or the file not be written.
    """
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    _check_storable(path_text(path), arrays, metadata)
    order = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    with atomic_write(path) as file:
        file.write(_header(arrays, order, metadata))
        for name in order:
            file.write(_stored(arrays[name]).tobytes())


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and vanishes when it fails.

    A link is followed: what it points to is replaced, and keeps its permissions. Raises
    CheckpointError when the folder is missing, the file cannot be written, or something that is not
    a file stands there.
    """
    name = path_text(path)
    try:
        target = os.path.realpath(name)
        temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.tmp")
        exists = os.path.lexists(target)
        if exists and not os.path.isfile(target):
            raise OSError(None, "what stands there is not a file")
        with _removed_on_failure(temporary):
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if exists:
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
    except OSError as error:
        raise _not_written(name, error) from error


def read_bytes(path: StrPath, check: Callable[[str, bytes], None] | None = None) -> bytes:
    """The content of a regular file; `check(name, first 512 bytes)` may raise before the rest is read.

    Raises CheckpointError when there is no such file or it cannot be read.
    """
    name = path_text(path)
    try:
        refusals.check_kind(name, os.stat(name).st_mode)
        with open(name, "rb") as file:
            if check:
                check(name, file.read(512))
                file.seek(0)
            return file.read()
    except OSError as error:
        raise refusals.unreadable(name, error) from error


def path_text(path: StrPath) -> str:
    """The path as text. Raises CheckpointError when it is not one that a file can have."""
    try:
        name = os.fspath(path)
        if isinstance(name, str) and b"\0" not in os.fsencode(name):
            return name
    except (TypeError, UnicodeEncodeError):
        pass
    raise CheckpointError(
        "path", found=ascii(path), expected="the path of a file or folder", remedy="Give a str or a Path."
    )


def _deserialized(content: bytes, where: str) -> dict[str, bytearray]:
    try:
        stored = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise header.wrong(where, f"what the safetensors library refuses ({error})", "a sound file") from None
    return {name: entry["data"] for name, entry in stored}


def _array(raw: bytes, entry: header.Entry, where: str) -> npt.NDArray[Any]:
    """The tensor as a view of a bytes object, which nobody can write to."""
    if entry.dtype == "BOOL" and raw and max(raw) > 1:
        raise header.wrong(f"{where}: {entry.name}", f"the byte {max(raw)} in a BOOL", "0 or 1")
    return np.frombuffer(raw, header.DTYPES[entry.dtype]).reshape(entry.shape)


def _header(arrays: Mapping[str, npt.NDArray[Any]], order: list[str], metadata: Mapping[str, str]) -> bytes:
    ends = np.cumsum([arrays[name].nbytes for name in order], dtype=np.int64).tolist()
    offsets = {name: [end - arrays[name].nbytes, end] for name, end in zip(order, ends, strict=True)}
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, array in arrays.items():
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets[name]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % header.PREFIX)
    return len(text).to_bytes(header.PREFIX, "little") + text


def _stored(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _check_storable(where: str, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> None:
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in _NAMES or array.ndim > header.MAX_RANK:
            raise CheckpointError(
                f"{where}: {name}",
                found=f"{array.dtype} of rank {array.ndim}",
                expected=f"one of {', '.join(_NAMES.values())}, of rank at most {header.MAX_RANK}",
                remedy="Convert the tensor before saving it.",
            )
    texts = [*arrays, *metadata, *metadata.values()]
    if "__metadata__" in arrays or not all(isinstance(text, str) and _encodable(text) for text in texts):
        raise CheckpointError(
            where,
            found="a name or a metadata value that is not text, or a tensor named __metadata__",
            expected="text that can be written as UTF-8",
            remedy="Rename the tensor, or write the value as text, with json.dumps for example.",
        )


def _encodable(text: str) -> bool:
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def _removed_on_failure(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _not_written(name: str, error: OSError) -> CheckpointError:
    folder = os.path.dirname(os.path.abspath(name))
    missing = not os.path.isdir(folder)
    return CheckpointError(
        name,
        found=f"that the file cannot be written ({error.strerror or error})",
        expected="an existing folder that may be written to, with room for the file",
        remedy=f"Create the folder {folder!r}, or choose another path."
        if missing
        else "Choose another path, or make room or change the permissions of this one.",
    )
