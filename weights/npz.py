"""Files of tensors: reading and writing NumPy archives (.npz), as Google's code stores them.

An archive is a zip file of one .npy file per array (see `npy`). Its directory is checked first:
nothing is inflated before its declared size has been weighed against the size of the file. Members are
stored as they are or deflated, the two ways in which NumPy writes. Our own metadata is the archive's
comment, which other readers ignore.

Source: the zip format, APPNOTE.TXT of PKWARE.
"""

import contextlib
import io
import json
import os
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vitref.weights import npy, refusals
from vitref.weights.files import StrPath, atomic_write, path_text
from vitref.weights.npy import FETCH, REWRITE, refused

SUFFIX = ".npy"
"""Of every member; the array's name is what stands before it."""

FACTOR, ALLOWANCE = 4, 24 * 2**20
"""An archive may inflate to FACTOR times its size and ALLOWANCE bytes more. Trained float32 weights
shrink by a tenth; those that were rounded to bfloat16 before, to less than a half."""

MAX_DIRECTORY = 16 * 2**20
MAX_COMMENT = 2**16 - 1

_END = struct.Struct("<4s4H2LH")  # of the directory: signature, disks, counts, size, offset, comment length
_LOCATOR = struct.Struct("<4sLQL")


def load_arrays(path: StrPath) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Every array of an archive (read-only, in the file's order), and our own metadata in its comment.

    Raises CheckpointError for a missing, unreadable, damaged or foreign file, a member that is no array
    or holds Python objects, and an archive that inflates to more than its size explains.
    """
    where = path_text(path)
    with _opened(where) as file, npy.guarded(where):
        size = _check_ends(file, where)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_directory(members, size, where)
            arrays = {_name(member): _read(archive, member, where) for member in members}
            return arrays, _metadata(archive.comment)


def read_metadata(path: StrPath) -> dict[str, str]:
    """Our own metadata in an archive's comment, without its arrays. Raises CheckpointError as above."""
    where = path_text(path)
    with _opened(where) as file, npy.guarded(where):
        _check_ends(file, where)
        with zipfile.ZipFile(file) as archive:
            return _metadata(archive.comment)


def save_arrays(path: StrPath, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write an archive, stored as it is, whole or not at all; equal input gives equal bytes.

    Raises CheckpointError when a name, dtype or the metadata cannot be stored, or the file not be written.
    """
    where, arrays = path_text(path), {name: np.asarray(tensor) for name, tensor in tensors.items()}
    for name, array in arrays.items():
        _check_name(name + SUFFIX, f"{where}: {name}")
        npy.check_dtype(array.dtype, array.ndim, f"{where}: {name}")
    comment = json.dumps(dict(metadata), sort_keys=True).encode() if metadata else b""
    if len(comment) > MAX_COMMENT:
        remedy = "Save it as safetensors, which has no such limit."
        raise refused(where, f"{len(comment):,} bytes of metadata", f"at most {MAX_COMMENT:,}", remedy)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.comment = comment
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name + SUFFIX), "w", force_zip64=True) as stream:
                npy.write(stream, array)


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(SUFFIX)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> npt.NDArray[Any]:
    where = f"{where}: {_name(member)}"
    with npy.guarded(where), archive.open(member) as stream:
        return npy.read(stream, member.file_size, where)


def _check_ends(file: BinaryIO, where: str) -> int:
    """The size of a file that begins and ends as an archive does, with a directory that fits in memory."""
    head, size = file.read(512), file.seek(0, io.SEEK_END)
    if not head.startswith(b"PK\x03\x04"):
        refusals.check(where, head)
        raise refused(
            where, f"a start of {ascii(head[:8])}", "an archive of arrays, which begins with PK", FETCH
        )
    file.seek(max(0, size - _END.size - MAX_COMMENT))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise refused(where, "no directory at its end", "a complete archive", FETCH)
    *_, directory, _, comment = _END.unpack_from(tail, place)
    if len(tail) - place - _END.size != comment:
        raise refused(where, "bytes after its end, or too few", "a complete archive", FETCH)
    if directory == 2**32 - 1:
        directory = _directory_64(file, size - len(tail) + place)
    if directory > MAX_DIRECTORY:
        raise refused(where, f"a directory of {directory:,} bytes", f"at most {MAX_DIRECTORY:,}", REWRITE)
    return size


def _directory_64(file: BinaryIO, end: int) -> int:
    """The size of the directory in the 64-bit record, which the locator before the end record points to."""
    file.seek(end - _LOCATOR.size)
    _, _, record, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    file.seek(record + 40)
    return int.from_bytes(file.read(8), "little")


def _check_directory(members: list[zipfile.ZipInfo], size: int, where: str) -> None:
    if any(member.filename.endswith("/data.pkl") for member in members):
        raise refused(
            where,
            "a PyTorch file, left unread because opening one can run any code",
            "a NumPy archive",
            f"Convert it once, where torch and safetensors are installed, with: {refusals.conversion(where)}",
        )
    for member in members:
        _check_name(member.orig_filename, f"{where}: {ascii(member.orig_filename)}")
        _check_storage(member, f"{where}: {_name(member)}")
    counts = Counter(member.filename for member in members)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise refused(where, f"the member {', '.join(twice)} more than once", "every name once", REWRITE)
    if sum(member.compress_size for member in members) > size:
        raise refused(where, "members that overlap", "members that lie one after the other", FETCH)
    inflated = sum(member.file_size for member in members)
    if inflated > FACTOR * size + ALLOWANCE:
        raise refused(
            where,
            f"{inflated:,} bytes of arrays in a file of {size:,}, as in a decompression bomb",
            f"at most {FACTOR} times the size of the file, and {ALLOWANCE:,} bytes more",
            "If its origin is trusted, write it again uncompressed, with numpy.savez.",
        )


def _check_name(name: str, where: str) -> None:
    parts = name.removesuffix(SUFFIX).split("/")
    if "\\" in name or ":" in name or not name.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
        raise refused(where, "a path that is not plain", "plain names, with / between them", REWRITE)
    if not name.endswith(SUFFIX):
        raise refused(where, "a member that is no array", f"names that end in {SUFFIX}", REWRITE)


def _check_storage(member: zipfile.ZipInfo, where: str) -> None:
    if member.flag_bits & 1:
        raise refused(where, "an encrypted member", "one that is not encrypted", REWRITE)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(
            where, f"compression method {member.compress_type}", "none or deflate, as NumPy writes", REWRITE
        )
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise refused(where, "two sizes of a member that is not compressed", "one size", FETCH)


def _metadata(comment: bytes) -> dict[str, str]:
    """Ours; empty for a comment that is not."""
    try:
        found = json.loads(comment)
    except (ValueError, RecursionError):
        return {}
    ours = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if ours else {}


@contextlib.contextmanager
def _opened(where: str) -> Iterator[BinaryIO]:
    try:
        refusals.check_kind(where, os.stat(where).st_mode)
        with open(where, "rb") as file:
            yield file
    except OSError as error:
        raise refusals.unreadable(where, error) from error
