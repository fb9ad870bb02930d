"""What the tensors of a checkpoint say about their model: sizes, options, and what each was read from."""

from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np

from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import CheckpointError
from vitref.weights.check import BLOCK
from vitref.weights.formats.format import Format

UNKNOWN = -1

FEW = 256
"""Missing blocks that are listed with all else that is missing; more are no gap but a wrong number."""

_STAND_IN = 16381
"""Stands for an unknown size while a format names and splits; its fourth power is below 2**63."""


class _Tensor(NamedTuple):
    """A shape in the canonical layout; the tensor's name in the file, the first of several, and its shape."""

    shape: tuple[int, ...]
    name: str
    stored: tuple[int, ...]


class Shapes(NamedTuple):
    """Facts that the tensors determine, keyed by Config field, and two sizes that are not fields.

    inner  heads x head_dim, a third of the rows of the query-key-value projection
    rows   of the position table, that of the class token included
    """

    fields: dict[str, Fact]
    inner: Fact
    rows: Fact


def read(tensors: Mapping[str, Any], stored: Mapping[str, Any], layout: Format, where: str) -> Shapes:
    """The sizes by canonical name; where tensors disagree, the one that most have.

    tensors  under their canonical names
    stored   the same as the file has them, in the names of `layout`, which the sources of the facts tell

    A size whose tensors are missing is UNKNOWN; a block that is missing is still counted. Raises
    CheckpointError when more than FEW of them are.
    """
    found = {name: _Tensor(array.shape, *_told(name, stored, layout)) for name, array in tensors.items()}
    depth = _depth(found, where)
    blocks = [f"blocks.{i}." for i in range(depth.value)]
    patch = "patch_embed.proj.weight"
    rows, columns = _size(found, [(patch, 4, 2)]), _size(found, [(patch, 4, 3)])
    width = [("cls_token", 3, 2), ("pos_embed", 3, 2), ("norm.weight", 1, 0), ("fc_norm.weight", 1, 0)]
    fields = {
        "patch_size": Fact((rows.value, columns.value), rows.source),
        "channels": _size(found, [(patch, 4, 1)]),
        "width": _size(found, width + [(f"{b}norm1.weight", 1, 0) for b in blocks]),
        "depth": depth,
        "mlp_width": _size(found, [(f"{b}mlp.fc1.weight", 2, 0) for b in blocks]),
        "classes": _optional(found, "head", "head."),
        "qkv_bias": _present(found, "attn.qkv.bias"),
        "class_token": _present(found, "cls_token"),
        "final_norm": _final_norm(found),
        "layer_scale": _present(found, ".gamma"),
        "pre_logits": _optional(found, "pre_logits.fc", "pre_logits."),
    }
    qkv = _size(found, [(f"{b}attn.qkv.weight", 2, 0) for b in blocks])
    third = qkv.value // 3 if qkv.value > 0 else UNKNOWN
    return Shapes(fields, Fact(third, qkv.source), _size(found, [("pos_embed", 3, 1)]))


def expected(shapes: Shapes, facts: Mapping[str, Fact], layout: Format) -> dict[str, tuple[int, ...]]:
    """Name in the file -> shape of the parameters of a model with these sizes; negative where unknown.

    facts  Config field -> Fact, of which class_position and heads are of use
    """
    fields = {name: _stand_in(fact.value) for name, fact in shapes.fields.items()}
    position = facts.get("class_position")
    prefix = int(fields["class_token"] and (position is None or position.value))
    rows = _STAND_IN if shapes.rows.value == UNKNOWN else max(shapes.rows.value - prefix, 1)
    given = {"position_grid": (1, rows), "position_prefix": prefix, **_attention(shapes.inner.value, facts)}
    model = cast(Config, SimpleNamespace(**fields, **given))
    byte = np.zeros((), "u1")
    ghosts = {name: np.broadcast_to(byte, s) for name, s in Config.parameter_shapes(model).items()}
    found = {name: array.shape for name, array in layout.from_canonical(ghosts, model).items()}
    return {name: tuple(_unknown_again(size) for size in shape) for name, shape in found.items()}


def _attention(inner: int, facts: Mapping[str, Fact]) -> dict[str, int]:
    """heads and head_dim; one head where that does not matter or is not known."""
    heads = facts["heads"].value if "heads" in facts else 1
    if inner == UNKNOWN or type(heads) is not int or heads < 1 or inner % heads:
        return {"heads": 1, "head_dim": _stand_in(inner)}
    return {"heads": heads, "head_dim": inner // heads}


def _told(canonical: str, stored: Mapping[str, Any], layout: Format) -> tuple[str, tuple[int, ...]]:
    name = layout.names(canonical)[0]
    return name, stored[name].shape


def _stand_in(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_stand_in(part) for part in value)
    return _STAND_IN if type(value) is int and value == UNKNOWN else value


def _unknown_again(size: int) -> int:
    return UNKNOWN if size in (_STAND_IN, _STAND_IN + 1, 3 * _STAND_IN) else size


def _depth(tensors: Mapping[str, Any], where: str) -> Fact:
    found = sorted({int(match[1]) for name in tensors if (match := BLOCK.match(name))})
    depth = found[-1] + 1 if found else 0
    if depth - len(found) > FEW:
        raise CheckpointError(
            where,
            found=f"{len(found)} blocks, of which the last is number {found[-1]}",
            expected="blocks numbered 0, 1, 2, ... without a gap",
            remedy="Check that the file is complete.",
        )
    return Fact(max(depth, 1), f"names blocks.{found[0]} to blocks.{found[-1]}" if found else "no block")


def _present(tensors: Mapping[str, _Tensor], ending: str) -> Fact:
    name = next((name for name in tensors if name.endswith(ending)), None)
    present = f"{tensors[name].name} is present" if name else f"no {ending.lstrip('.')} is present"
    return Fact(name is not None, present)


def _final_norm(tensors: Mapping[str, _Tensor]) -> Fact:
    """Which of the two most tensors belong to; `norm` where neither has more."""
    kinds = {"tokens": "norm.", "pooled": "fc_norm."}
    names = {kind: [name for name in tensors if name.startswith(kinds[kind])] for kind in kinds}
    kind = max(kinds, key=lambda kind: len(names[kind]))
    return Fact(kind, f"{tensors[names[kind][0]].name} is present" if names[kind] else "no norm is present")


def _optional(tensors: Mapping[str, _Tensor], layer: str, prefix: str) -> Fact:
    """The outputs of a linear layer that a model may lack: 0 then."""
    if not any(name.startswith(prefix) for name in tensors):
        return Fact(0, f"no {prefix[:-1]} is present")
    return _size(tensors, [(f"{layer}.weight", 2, 0), (f"{layer}.bias", 1, 0)])


def _size(tensors: Mapping[str, _Tensor], places: list[tuple[str, int, int]]) -> Fact:
    """The size that most of the places (name, rank, axis) show, and the first name that shows it."""
    shapes = [
        (name, tensors[name].shape, axis)
        for name, rank, axis in places
        if name in tensors and len(tensors[name].shape) == rank
    ]
    votes = Counter(shape[axis] for _, shape, axis in shapes)
    if not votes:
        return Fact(UNKNOWN, "no tensor shows it")
    size = votes.most_common(1)[0][0]
    found = tensors[next(name for name, shape, axis in shapes if shape[axis] == size)]
    return Fact(size, f"shape of {found.name} {found.stored}")
