"""The rows of the position table: the grid of those of patches, and whether one is the class token's."""

import math
from collections import ChainMap
from collections.abc import Mapping
from typing import TypeAlias

from vitref import config
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.weights.shapes import UNKNOWN, Shapes

Said: TypeAlias = Mapping[str, Fact]
"""What one source says: field -> Fact."""


def tokens(shapes: Shapes, said: list[Said], file_size: Fact | None) -> tuple[Shapes, dict[str, Fact]]:
    """The shapes with `class_token` settled, and `class_position` unless it is open.

    said       who says what of the model, the first to be believed first
    file_size  (H, W) for which the library's config file says the position table was made, if it does

    Raises ConfigError when one of them is said to be neither True nor False.
    """
    facts = dict(ChainMap(*map(dict, said)))
    for name in ("class_token", "class_position"):
        if name in facts and not isinstance(facts[name].value, bool):
            raise ConfigError(
                f"Config.{name}",
                found=f"{facts[name].value!r} ({facts[name].source})",
                expected="True or False",
                remedy=f"Give {name}= one of the two.",
            )
    found = _class_token(shapes, facts)
    shapes = shapes._replace(fields={**shapes.fields, "class_token": found})
    position = facts.get("class_position") or _class_position(shapes, facts, file_size)
    return shapes, {"class_position": position} if position else {}


def with_grid(facts: dict[str, Fact], shapes: Shapes, file_size: Fact | None) -> dict[str, Fact]:
    """position_grid and image_size, where they are not given."""
    facts = dict(facts)
    if "position_grid" not in facts and "class_position" in facts:
        patches = count(facts, shapes)
        stated = _file_grid(file_size, shapes.fields["patch_size"])
        if stated and math.prod(stated.value) == patches:
            facts["position_grid"] = stated
        elif side := square(patches):
            facts["position_grid"] = Fact((side, side), f"{shapes.rows.source}, assumed square")
    if "image_size" not in facts and "position_grid" in facts:
        (rows, columns), (height, width) = facts["position_grid"].value, facts["patch_size"].value
        facts["image_size"] = Fact((rows * height, columns * width), "position grid times patch size")
    return {**facts, **_resized(facts)}


def _resized(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """image_size, with a remark in its source where the position table is for another grid, or pixels at
    the bottom or right are not read."""
    if "image_size" not in facts or "position_grid" not in facts:
        return {}
    size, patch, grid = facts["image_size"], facts["patch_size"].value, facts["position_grid"].value
    remarks = [_unread(*sides) for sides in zip(("height", "width"), size.value, patch, strict=True)]
    if (size.value[0] // patch[0], size.value[1] // patch[1]) != grid:
        remarks.append(f"the position table is for {grid[0]} x {grid[1]} patches, and is resized")
    new = [remark for remark in remarks if remark and remark not in size.source]  # a record keeps them
    return {"image_size": Fact(size.value, "; ".join([size.source, *new]))}


def _unread(side: str, length: int, edge: int) -> str:
    """What remains of a side that is no multiple of the patch; empty where nothing does."""
    count, rest = divmod(length, edge)
    if not rest:
        return ""
    pixels = "pixel that is" if rest == 1 else "pixels that are"
    patches = "patch" if count == 1 else "patches"
    return f"{side} {length} = {count} {patches} of {edge} and {rest} {pixels} not read"


def count(facts: Mapping[str, Fact], shapes: Shapes) -> int:
    """Rows of the table that belong to patches."""
    prefix = facts["class_token"].value and facts["class_position"].value
    return int(shapes.rows.value - bool(prefix))


def square(count: int) -> int:
    """The side of a square grid of `count` patches; 0 when there is none."""
    side = math.isqrt(max(count, 0))
    return side if side * side == count else 0


def _class_token(shapes: Shapes, facts: Mapping[str, Fact]) -> Fact:
    """As the tensors show it; a token that is said to be there, or has a row in the table, is missing."""
    found = shapes.fields["class_token"]
    if found.value or "class_token" in facts:
        return found if found.value else facts["class_token"]
    side, rest = square(shapes.rows.value - 1), square(shapes.rows.value)
    return (
        Fact(True, f"{shapes.rows.source}, {side} x {side} patches and one more")
        if side and not rest
        else found
    )


def _class_position(shapes: Shapes, facts: Mapping[str, Fact], file_size: Fact | None) -> Fact | None:
    """From the rows of the table; None when they can be read in two ways, or in none."""
    rows, source = shapes.rows
    if not shapes.fields["class_token"].value:
        return Fact(True, "without effect, as there is no class token")
    grid = facts.get("position_grid") or _file_grid(file_size, shapes.fields["patch_size"])
    patches = math.prod(config.pair("position_grid", grid.value)) if grid else 0
    if grid and rows in (patches, patches + 1):
        return Fact(rows > patches, f"{source}, and {grid.source}")
    side = square(rows - 1)
    return Fact(True, f"{source}, {side} x {side} patches and one more, assumed square") if side else None


def _file_grid(file_size: Fact | None, patch_size: Fact) -> Fact | None:
    """The grid at the size that the library's config file states."""
    if file_size is None or UNKNOWN in patch_size.value:
        return None
    size, patch = config.pair("image_size", file_size.value), patch_size.value
    return Fact((size[0] // patch[0], size[1] // patch[1]), f"{file_size.source} over the patch size")
