"""A pack, read with nothing but NumPy and json."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

DTYPES = {"F64": "<f8", "I64": "<i8", "U8": "u1"}


class Read(NamedTuple):
    """A vector with its arrays in the place of the names of tensors."""

    group: str
    id: str
    result: str
    note: str
    settings: dict[str, Any]
    inputs: Arrays
    outputs: Arrays
    gradients: Arrays
    tolerances: dict[str, dict[str, float]]
    flags: dict[str, str]

    @property
    def expected(self) -> Arrays:
        return {**self.outputs, **self.gradients}

    def wrong(self, found: Mapping[str, Array], precision: str = "float64") -> list[str]:
        """The outputs and gradients that are missing, misshapen, or off by more than is allowed."""
        return [name for name in self.expected if not self.holds(name, found.get(name), precision)]

    def holds(self, name: str, found: Array | None, precision: str) -> bool:
        right = self.expected[name]
        if found is None or np.shape(found) != right.shape:
            return False
        return bool(np.all(np.abs(found - right) <= self.tolerances[name][precision]))


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text("ascii"))
    assert content["format"] == "vitref vectors 1"
    return content


def vectors(folder: Path, chosen: Callable[[dict[str, Any]], bool]) -> Iterator[Read]:
    """The vectors of the groups that are chosen. The files are held against the manifest."""
    for group in filter(chosen, manifest(folder)["groups"]):
        tensors = load(folder / group["file"], group["sha256"])
        for vector in group["vectors"]:
            yield read(vector, group["group"], tensors)


def read(vector: dict[str, Any], group: str, tensors: Arrays) -> Read:
    entries = [vector.get(part, {}) for part in ("inputs", "outputs", "gradients")]
    arrays = ({name: taken(entry, tensors) for name, entry in part.items()} for part in entries)
    allowed = {name: entry["tolerance"] for part in entries[1:] for name, entry in part.items()}
    plain = (vector[field] for field in ("id", "result", "note", "settings"))
    fields: list[Any] = [group, *plain, *arrays, allowed, vector.get("flags", {})]
    return Read(*fields)


def taken(entry: dict[str, Any], tensors: Arrays) -> Array:
    array = tensors[entry["tensor"]]
    assert (list(array.shape), array.dtype) == (entry["shape"], np.dtype(DTYPES[entry["dtype"]]))
    return array


def load(path: Path, sha256: str) -> Arrays:
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    return {name: tensor(entry, data[8 + length :]) for name, entry in header.items()}


def tensor(entry: dict[str, Any], data: bytes) -> Array:
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
