"""The arrays of a JSON file: nested lists of numbers, or objects that say the shape.

    [[0.1, 0.2], [0.3, 0.4]]                                          one array
    {"blocks.0": [[...], ...], "head": [...]}                         several
    {"head": {"shape": [2, 10], "data": [...], "dtype": "float32"}}   data flat or nested; dtype optional

JSON has no dtypes. Where none is said, an array is float32 when all its numbers are float32 numbers, or have
at most nine significant digits, which determine one; any other is float64. Labels are int64 where they are
whole. A JSON file is held in memory as a whole, unlike the other kinds.
"""

import json
import math
import os
from collections import Counter
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.errors import CheckpointError
from vitref.verify.candidate.stored import Stored, of_array
from vitref.weights import refusals
from vitref.weights.check import DTYPES

LARGEST = 2**28
"""Bytes of text; what is parsed takes several times as much memory."""

INTEGERS: dict[str, np.dtype[Any]] = {"int32": np.dtype(np.int32), "int64": np.dtype(np.int64)}


def opened(where: str, stem: str) -> dict[str, Stored]:
    """Name -> array; a file of one nested list is named `stem`.

    Raises CheckpointError for anything but JSON of these forms, and for a name that stands there twice.
    """
    content = _parsed(where)
    if isinstance(content, list):
        return {stem: of_array(stem, _array(content, where, stem), where)}
    if isinstance(content, dict) and {"shape", "data"} <= set(content):
        return {stem: of_array(stem, _array(content, where, stem), where)}
    if not isinstance(content, dict):
        raise _wrong(where, f"a JSON {type(content).__name__}")
    places = {name: f"{where}: {name if name.isprintable() else ascii(name)}" for name in content}
    arrays = {name: _array(value, places[name], name) for name, value in content.items()}
    return {name: of_array(name, array, places[name]) for name, array in arrays.items()}


def _parsed(where: str) -> Any:
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        repeated.extend(name for name, count in counts.items() if count > 1)
        return dict(pairs)

    try:
        refusals.check_kind(where, os.stat(where).st_mode)
        if os.path.getsize(where) > LARGEST:
            raise _wrong(where, f"{os.path.getsize(where):,} bytes of text, more than {LARGEST:,}")
        with open(where, "rb") as file:
            content = json.loads(file.read().decode("utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise refusals.unreadable(where, error) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(where, f"no JSON ({error})") from None
    if repeated:
        raise _wrong(where, f"the name {ascii(repeated[0])} twice")
    return content


def _array(value: Any, where: str, name: str) -> HostArray:
    if isinstance(value, dict):
        array, dtype = _described(value, where)
        if dtype is not None:
            with np.errstate(over="ignore"):
                return array.astype(dtype)
    elif isinstance(value, list):
        array = _numbers(value, where)
    else:
        raise _wrong(where, f"a JSON {type(value).__name__}")
    return array if array.dtype == np.int64 and name.endswith("labels") else _guessed(array)


def _described(value: dict[str, Any], where: str) -> tuple[HostArray, np.dtype[Any] | None]:
    """The numbers in their shape, and the dtype that is said."""
    if not {"shape", "data"} <= set(value) <= {"shape", "data", "dtype", "name"}:
        raise _wrong(where, f"an object with {', '.join(map(ascii, value)) or 'nothing in it'}")
    shape, data, dtype = value["shape"], _numbers(value["data"], where), value.get("dtype")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise _wrong(where, f"the shape {ascii(shape)[:60]}")
    if math.prod(shape) != data.size:
        raise _wrong(where, f"{data.size:,} numbers for the shape {shape}")
    known: dict[str, np.dtype[Any]] = {**DTYPES, **INTEGERS}
    if dtype is not None and (not isinstance(dtype, str) or dtype not in known):
        raise _wrong(where, f"the dtype {ascii(dtype)[:60]}; known are {', '.join(known)}")
    if dtype in INTEGERS and data.size and data.dtype != np.int64:
        raise _wrong(where, f"numbers that are not whole as {dtype}")
    try:
        array: HostArray = data.reshape(shape)
    except ValueError:
        raise _wrong(where, f"the shape {ascii(shape)[:60]}, larger than an array can be") from None
    return array, None if dtype is None else known[dtype]


def _numbers(value: Any, where: str) -> HostArray:
    """int64 or float64. Raises CheckpointError for lists that are not rectangular, and other values."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise _wrong(where, f"lists of unequal lengths ({error})") from None
    if array.size and array.dtype not in (np.dtype(np.int64), np.dtype(np.float64)):
        raise _wrong(where, "values that are no numbers, or too large")
    return array


def _guessed(array: HostArray) -> HostArray:
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    short = np.array_equal(narrow, array) or all(float(f"{v:.9g}") == v for v in array.ravel().tolist())
    return narrow if short else array.astype(np.float64)


def _wrong(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        where,
        found=found,
        expected="numbers in nested lists, or {name: numbers}, or {name: {shape, data, dtype}}",
        remedy="Correct the file, or write safetensors or .npy, which keep the dtype.",
    )
