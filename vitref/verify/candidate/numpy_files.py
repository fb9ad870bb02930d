"""The arrays of .npy files and of .npz archives, each read by itself.

What is accepted, and the limits against archives that inflate without end, are those of
`vitref.weights.npy` and `vitref.weights.npz`.
"""

import copy
import os
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.verify.candidate.stored import Stored
from vitref.weights import npy, npz, refusals


def opened(where: str) -> tuple[dict[str, Stored], Mapping[str, str]]:
    """Name -> array of every member of an archive, and our own metadata in it.

    Raises CheckpointError for a missing, unreadable, damaged or foreign file, a member that is no array or
    holds Python objects, and an archive that inflates to more than its size explains.
    """
    with npz._opened(where) as file, npy.guarded(where):
        size = npz._check_ends(file, where)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            npz._check_directory([_without_colons(member) for member in members], size, where)
            found = [_member(archive, member, where) for member in members]
            return {stored.name: stored for stored in found}, npz._metadata(archive.comment)


def opened_array(where: str, name: str) -> Stored:
    """The array of a .npy file, under the given name. Raises CheckpointError as above."""
    with npz._opened(where) as file, npy.guarded(where):
        if not file.read(6):
            refusals.check(where, b"")
        file.seek(0)
        shape, dtype = _described(file, where)
    return Stored(name, where, shape, dtype, lambda: _load_array(where))


def _load_array(where: str) -> HostArray:
    with npz._opened(where) as file:
        return npy.read(file, os.fstat(file.fileno()).st_size, where)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Stored:
    name = npz._name(member)
    place = f"{where}: {name}"
    with npy.guarded(place), archive.open(member) as stream:
        shape, dtype = _described(stream, place)
    return Stored(name, place, shape, dtype, lambda: _load_member(where, member))


def _without_colons(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """A copy for the check of names: taps such as "head:dy" have a colon, and nothing is unpacked here."""
    plain = copy.copy(member)
    plain.orig_filename = plain.orig_filename.replace(":", ".")
    return plain


def _load_member(where: str, member: zipfile.ZipInfo) -> HostArray:
    with npz._opened(where) as file, npy.guarded(where), zipfile.ZipFile(file) as archive:
        return npz._read(archive, member, where)


def _described(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype, without the data."""
    shape, _, dtype = npy._header(stream, where)
    npy.check_dtype(dtype, len(shape), where)
    if dtype == np.dtype("V2"):
        return shape, np.dtype(ml_dtypes.bfloat16)
    return shape, dtype.newbyteorder("=")
