"""What the tensors of a checkpoint say about their model: sizes, and what each was read from."""

from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import CheckpointError
from vitref.weights.check import BLOCK

UNKNOWN = -1


class Shapes(NamedTuple):
    """Facts that shapes determine, keyed by Config field, and two sizes that are not fields.

    inner      heads x head_dim, a third of the rows of the query-key-value projection
    positions  rows of the position table without that of the class token
    """

    fields: dict[str, Fact]
    inner: Fact
    positions: Fact


def read(tensors: Mapping[str, Any], where: str) -> Shapes:
    """The sizes by canonical name; where tensors disagree, the one that most have.

    A size whose tensors are missing is UNKNOWN. Raises CheckpointError when block numbers have a gap.
    """
    depth = _depth(tensors, where)
    blocks = [f"blocks.{i}." for i in range(depth.value)]
    patch = "patch_embed.proj.weight"
    rows, columns = _size(tensors, [(patch, 4, 2)]), _size(tensors, [(patch, 4, 3)])
    width = [("cls_token", 3, 2), ("pos_embed", 3, 2), ("norm.weight", 1, 0)]
    table, qkv = _size(tensors, [("pos_embed", 3, 1)]), [(f"{b}attn.qkv.weight", 2, 0) for b in blocks]
    biased = [name for name in tensors if name.endswith("attn.qkv.bias")]
    bias_source = f"{biased[0]} is present" if biased else "no attn.qkv.bias is present"
    fields = {
        "patch_size": Fact((rows.value, columns.value), rows.source),
        "channels": _size(tensors, [(patch, 4, 1)]),
        "width": _size(tensors, width + [(f"{b}norm1.weight", 1, 0) for b in blocks]),
        "depth": depth,
        "mlp_width": _size(tensors, [(f"{b}mlp.fc1.weight", 2, 0) for b in blocks]),
        "classes": _classes(tensors),
        "qkv_bias": Fact(bool(biased), bias_source),
    }
    inner = _size(tensors, qkv)
    positions = UNKNOWN if table.value == UNKNOWN else max(table.value - 1, 1)
    third = inner.value // 3 if inner.value > 0 else UNKNOWN
    return Shapes(fields, Fact(third, inner.source), Fact(positions, table.source))


def expected(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape of the parameters of a model with these sizes; negative where unknown."""
    sizes = {name: fact.value for name, fact in shapes.fields.items()}
    positions = shapes.positions.value if shapes.positions.value > 0 else 2 * UNKNOWN
    model = SimpleNamespace(**sizes, heads=1, head_dim=shapes.inner.value, position_grid=(1, positions))
    return Config.parameter_shapes(cast(Config, model))


def _depth(tensors: Mapping[str, Any], where: str) -> Fact:
    found = sorted({int(match[1]) for name in tensors if (match := BLOCK.match(name))})
    if found != list(range(len(found))):
        raise CheckpointError(
            where,
            found=f"the blocks {', '.join(map(str, found))}",
            expected="blocks numbered 0, 1, 2, ... without a gap",
            remedy="Check that the file is complete.",
        )
    return Fact(max(len(found), 1), f"names blocks.0 to blocks.{len(found) - 1}" if found else "no block")


def _classes(tensors: Mapping[str, Any]) -> Fact:
    if "head.weight" not in tensors and "head.bias" not in tensors:
        return Fact(0, "no head is present")
    return _size(tensors, [("head.weight", 2, 0), ("head.bias", 1, 0)])


def _size(tensors: Mapping[str, Any], places: list[tuple[str, int, int]]) -> Fact:
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
    name, shape, _ = next(seen for seen in shapes if seen[1][seen[2]] == size)
    return Fact(size, f"shape of {name} {shape}")
