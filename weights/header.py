"""The header of a safetensors file, checked before a single tensor is looked at.

The layout (huggingface/safetensors, README): eight bytes, little-endian, with the length of the
header; the header, a JSON object of name -> dtype, shape, data_offsets, and `__metadata__`; the data.
Stricter than the library: a name may not occur twice, a rank is at most 8, booleans are 0 or 1.
"""

import json
import math
from collections import Counter
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from vitref.errors import CheckpointError

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Name in the file -> NumPy dtype."""

MAX_RANK = 8
MAX_HEADER = 2_000_000
PREFIX = 8


class Entry(NamedTuple):
    """One tensor of a header; `begin` and `end` count bytes from the start of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def parse(content: bytes, where: str) -> tuple[list[Entry], dict[str, str], int]:
    """The entries in the header's order, the metadata, and where the data begins.

    content  the whole file
    where    its name, for messages

    Raises CheckpointError for anything that is not exactly a safetensors file.
    """
    start = _data_start(content, where)
    header = _json_object(content[PREFIX:start], where)
    metadata = _metadata(header.pop("__metadata__", {}), where)
    entries = [_entry(name, value, where) for name, value in header.items()]
    _check_offsets(entries, len(content) - start, where)
    return entries, metadata, start


def metadata(content: bytes, where: str) -> dict[str, str]:
    """The metadata alone, from the beginning of a file. Raises CheckpointError as `parse` does."""
    start = _data_start(content, where)
    return _metadata(_json_object(content[PREFIX:start], where).get("__metadata__", {}), where)


def wrong(where: str, found: str, expected: str) -> CheckpointError:
    """The error of a damaged file."""
    return CheckpointError(
        where,
        found=found,
        expected=expected,
        remedy="The file is damaged or was cut short; fetch it again, or write it again from its source.",
    )


def _data_start(content: bytes, where: str) -> int:
    if len(content) < PREFIX:
        raise wrong(where, f"{len(content)} bytes", "a safetensors file, which has at least 8")
    length = int.from_bytes(content[:PREFIX], "little")
    if length > MAX_HEADER:
        raise CheckpointError(
            where,
            found=f"a header of {length:,} bytes by its first eight bytes",
            expected=f"a safetensors file, with a header of at most {MAX_HEADER:,} bytes",
            remedy="This is not a safetensors file; convert the checkpoint to safetensors first.",
        )
    if PREFIX + length > len(content):
        raise wrong(where, f"{len(content):,} bytes", f"at least {PREFIX + length:,}, to hold the header")
    return PREFIX + length


def _json_object(raw: bytes, where: str) -> dict[str, Any]:
    repeated: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        repeated.update(name for name, count in counts.items() if count > 1)
        return dict(pairs)

    if not raw.startswith(b"{"):
        raise wrong(f"{where}: header", f"a start of {ascii(raw[:8])}", "a JSON object, which begins with {")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise wrong(f"{where}: header", f"no JSON ({error})", "a JSON object in UTF-8") from None
    if repeated:
        raise wrong(
            f"{where}: header", f"the name {', '.join(map(ascii, sorted(repeated)))} twice", "every name once"
        )
    return dict(header)


def _metadata(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise wrong(f"{where}: __metadata__", "values that are not text", "an object of name -> text")
    for name, text in value.items():
        _check_text(name + text, f"{where}: __metadata__")
    return value


def _entry(name: str, value: Any, where: str) -> Entry:
    _check_text(name, f"{where}: header")
    where = f"{where}: {name}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise wrong(where, f"the entry {_short(value)}", "dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(
            where,
            found=f"the dtype {_short(dtype)}",
            expected=f"one of {', '.join(DTYPES)}",
            remedy="Convert the tensor to one of these dtypes; for weights, F32 or BF16.",
        )
    if not _whole_numbers(shape) or len(shape) > MAX_RANK:
        raise wrong(where, f"the shape {_short(shape)}", f"at most {MAX_RANK} whole numbers")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise wrong(where, f"the data_offsets {_short(offsets)}", "two whole numbers, begin and end")
    if math.prod(max(size, 1) for size in shape) * DTYPES[dtype].itemsize >= 2**63:
        raise wrong(where, f"the shape {_short(shape)}", "a tensor that fits in memory")
    nbytes = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != nbytes:
        raise wrong(where, f"data_offsets {_short(offsets)}", f"{nbytes} bytes, for {dtype} {tuple(shape)}")
    return Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise wrong(where, f"the text {_short(text)}", "valid Unicode") from None


def _check_offsets(entries: list[Entry], nbytes: int, where: str) -> None:
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            kind = "a gap before" if entry.begin > position else "an overlap at"
            raise wrong(
                f"{where}: {entry.name}",
                f"{kind} byte {entry.begin} of the data",
                f"it to begin at byte {position}",
            )
        position = entry.end
    if position != nbytes:
        raise wrong(where, f"{nbytes:,} bytes of data", f"{position:,}, by the header")


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
