"""The manifest of a pack: everything about the vectors but their numbers, as JSON with one vector a line."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.testing.tolerance import ROUNDING
from vitref.verify.mistakes import CATALOGUE
from vitref.verify.vectors.tolerances import DERIVATION
from vitref.verify.vectors.vector import FORMAT, RESULTS, Group, Vector
from vitref.weights.header import DTYPES

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Described(NamedTuple):
    """A group's tensors by their name in its file, and its entry in the manifest without digest and size."""

    tensors: dict[str, HostArray]
    entry: dict[str, Any]


def described(group: Group) -> Described:
    """Equal arrays of a group are stored once, under the name of the first."""
    tensors: dict[str, HostArray] = {}
    known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def tensor(place: int, name: str, array: HostArray) -> dict[str, Any]:
        key = (array.dtype.str, array.shape, array.tobytes())
        stored = known.setdefault(key, f"{place}/{name}")
        tensors.setdefault(stored, array)
        return {"tensor": stored, "dtype": _NAMES[array.dtype], "shape": list(array.shape)}

    def expected(place: int, vector: Vector, arrays: Mapping[str, HostArray]) -> dict[str, Any]:
        return {
            name: {**tensor(place, name, array), "tolerance": vector.tolerances[name]}
            for name, array in arrays.items()
        }

    vectors = []
    for place, vector in enumerate(group.vectors):
        entry: dict[str, Any] = {"id": f"{group.name}/{place}", "result": vector.result, "note": vector.note}
        entry["settings"] = dict(vector.settings)
        entry["inputs"] = {name: tensor(place, name, array) for name, array in vector.inputs.items()}
        if vector.result != "rejected":
            entry["outputs"] = expected(place, vector, vector.outputs)
            entry["gradients"] = expected(place, vector, vector.gradients)
            entry["flags"] = dict(vector.flags)
        vectors.append(entry)
    head = {"group": group.name, "kind": group.kind, "file": group.file, **group.about}
    return Described(tensors, {**head, "vectors": vectors})


def manifest(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What stands before the groups, and the groups."""
    groups = list(entries)
    flags = Counter(
        flag for group in groups for vector in group["vectors"] for flag in vector.get("flags", ())
    )
    return {
        "format": FORMAT,
        "made_by": {"vitref": version("vitref"), "numpy": np.__version__},
        "results": RESULTS,
        "precisions": {name: {"rounding": unit} for name, unit in ROUNDING.items()},
        "tolerance": DERIVATION,
        "flags": {name: _flag(name) for name in CATALOGUE if name in flags},
        "unflagged": [name for name in CATALOGUE if name not in flags],
        "groups": groups,
    }


def text(content: Mapping[str, Any]) -> str:
    """JSON, with a line for each field of the manifest, each flag, each group and each vector."""
    lines = [
        f"{_json(key)}: {_json(value)}" for key, value in content.items() if key not in ("flags", "groups")
    ]
    flags = ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in content["flags"].items())
    groups = ",\n".join(map(_group, content["groups"]))
    return "{" + ",\n".join([*lines, f'"flags": {{\n{flags}\n}}', f'"groups": [\n{groups}\n]']) + "\n}\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _group(group: Mapping[str, Any]) -> str:
    head = {key: value for key, value in group.items() if key != "vectors"}
    vectors = ",\n".join(map(_json, group["vectors"]))
    return f'{_json(head)[:-1]}, "vectors": [\n{vectors}\n]}}'


def _flag(name: str) -> dict[str, Any]:
    mistake = CATALOGUE[name]
    found: dict[str, Any] = {"what": mistake.what, "look": mistake.look, "seen_in": list(mistake.evidence)}
    found |= {"lines": mistake.lines, "equivalent": mistake.equivalent}
    return {key: value for key, value in found.items() if value}


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
