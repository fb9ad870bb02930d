"""One array in the .npy format, inside a NumPy archive: checked before its data is read, never unpickled.

Accepted are numbers in either byte order and either memory order (the values are the same; arrays come
out in the machine's byte order), and two-byte voids, which are bfloat16: NumPy has no name for it, and
big_vision stores its parameters so (big_vision/utils.py: recover_dtype).

Source: numpy/lib/format.py.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import IO, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from vitref.errors import CheckpointError
from vitref.weights import header

FETCH = "The file is damaged or was cut short; fetch it again, or write it again from its source."
REWRITE = "Write the archive again from its source, with numpy.savez."

MAX_HEADER = 4096

_VOID = np.dtype("V2")
_DTYPES = {dtype for dtype in header.DTYPES.values() if dtype.kind in "fiu"} | {_VOID}


def read(stream: IO[bytes], size: int, where: str) -> npt.NDArray[Any]:
    """The array in a stream of `size` bytes, as a view of a bytes object, which nobody can write to.

    Raises CheckpointError for anything that is not exactly one array of numbers.
    """
    with guarded(where):
        shape, transposed, dtype = _header(stream, where)
        check_dtype(dtype, len(shape), where)
        nbytes, rest = math.prod(shape) * dtype.itemsize, size - stream.tell()
        if nbytes != rest:
            raise refused(where, f"{rest:,} bytes of data", f"{nbytes:,}, for {dtype} {shape}", FETCH)
        raw = stream.read(nbytes)
        if len(raw) != nbytes or stream.read(1):
            raise refused(where, f"{len(raw):,} bytes of data", f"exactly {nbytes:,}", FETCH)
    array = _native(raw, dtype)
    return array.reshape(shape[::-1]).T if transposed else array.reshape(shape)


def write(stream: IO[bytes], array: npt.NDArray[Any]) -> None:
    """Write the array little-endian, in C order, with a header of version 1.0."""
    little = _void_for_bfloat16(array)
    little = little.astype(little.dtype.newbyteorder("<"), copy=False)
    fields = {"descr": little.dtype.str, "fortran_order": False, "shape": little.shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    stream.write(little.tobytes())


def check_dtype(dtype: np.dtype[Any], rank: int, where: str) -> None:
    """Raise CheckpointError unless arrays of this dtype and rank are read and written."""
    if dtype.hasobject:
        raise refused(
            where,
            "Python objects, left unread because opening them can run any code",
            "an array of numbers",
            "Write the archive again with arrays of numbers only; remove this one if it is no weight.",
        )
    stored = _VOID if dtype == ml_dtypes.bfloat16 else dtype.newbyteorder("<")
    if stored not in _DTYPES or rank > header.MAX_RANK:
        raise refused(
            where,
            f"{dtype} of rank {rank}",
            f"numbers of at most 8 bytes, or bfloat16 as V2, of rank at most {header.MAX_RANK}",
            "Convert the array, or remove it if it is no weight.",
        )


def refused(where: str, found: str, expected: str, remedy: str) -> CheckpointError:
    return CheckpointError(where, found=found, expected=expected, remedy=remedy)


@contextlib.contextmanager
def guarded(where: str) -> Iterator[None]:
    """What zipfile, zlib and NumPy raise for damaged bytes, of which they document little, as one error."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise refused(where, f"what cannot be read ({reason})", "a sound NumPy archive", FETCH) from None


def _header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise refused(where, f"version {version} of the .npy format", "1.0 or 2.0", REWRITE)
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about numbers as Python 2 wrote them
        shape, transposed, dtype = parse(stream, max_header_size=MAX_HEADER)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise refused(where, f"the shape {shape}", "whole numbers of at least 0", FETCH)
    return shape, transposed, dtype


def _native(raw: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype == _VOID:
        return np.frombuffer(raw, ml_dtypes.bfloat16)
    if not dtype.isnative:
        raw, dtype = np.frombuffer(raw, dtype).byteswap().tobytes(), dtype.newbyteorder("=")
    return np.frombuffer(raw, dtype)


def _void_for_bfloat16(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.view(_VOID) if array.dtype == ml_dtypes.bfloat16 else array
