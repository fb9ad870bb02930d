"""Filling Config and Preprocessing: who may say what, in which order, and what is still open.

Each source of facts is a mapping field -> Fact; the first that knows a field decides it. What the
tensors determine must agree with it. What nobody knows is an error that proposes, and never assumes.
"""

import math
from collections import ChainMap
from collections.abc import Mapping

from vitref import config, conventions, preprocessing
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights.shapes import Shapes

_CONFIG_FIELDS = [name for name in config.Config.__dataclass_fields__ if name != "head_dim"]


def model(
    said: list[Mapping[str, Fact]], shapes: Shapes, file_size: Fact | None, where: str, notes: list[str]
) -> dict[str, Fact]:
    """Every Config field with its source.

    said       who says what of the model, the first to be believed first; arguments come first
    shapes     what the tensors determine
    file_size  (H, W) for which the library's config file says the position table was made, if it does
    notes      said in the error about open fields, one sentence each

    Raises ConfigError when a field contradicts the tensors, or when fields are open.
    """
    facts = dict(ChainMap(*[dict(facts) for facts in said]))
    if "heads" in said[0] and "head_dim" not in said[0]:
        facts.pop("head_dim", None)
    facts = {**shapes.fields, **facts}
    for name in ("patch_size", "position_grid", "image_size"):
        if name in facts:
            facts[name] = Fact(config.pair(name, facts[name].value), facts[name].source)
    facts = _with_heads(facts, shapes, where)
    facts = _with_grid(facts, shapes, file_size)
    _agree(facts, shapes, where)
    _nothing_open(facts, shapes, where, notes)
    return facts


def pixels(
    said: list[Mapping[str, Fact]], made: Config, channels: Fact
) -> tuple[Preprocessing | None, dict[str, str]]:
    """The Preprocessing, or None when not all of it is known; and where each field came from.

    said      as for `model`, of Preprocessing fields and what `conventions.pixel_facts` adds to them
    made      the model, whose image_size and channels are those of the pixels
    channels  of the model, with its source

    Raises ConfigError when the arguments give some of the fields and others are open.
    """
    facts = dict(ChainMap(*[dict(facts) for facts in said]))
    facts.setdefault("size", Fact(made.image_size, "image_size"))
    facts["channels"] = channels
    crop, filter_not_square = facts.pop("crop_pct", None), facts.pop("interpolation_not_square", None)
    if crop and "resize_to" not in facts:
        facts["resize_to"] = _resize_to(facts["size"].value, crop)
        rows, columns = facts["resize_to"].value
        keeps_shape = "resize" in facts and facts["resize"].value == "shortest"
        if filter_not_square and keeps_shape and rows != columns and "interpolation" not in said[0]:
            facts["interpolation"] = filter_not_square
    open_fields = sorted(preprocessing.FIELDS - set(facts))
    argued = sorted(set(said[0]) & preprocessing.FIELDS)
    if open_fields and argued:
        raise ConfigError(
            "preprocessing",
            found=f"{', '.join(argued)}, but no {', '.join(open_fields)}",
            expected="all of its fields, or none",
            remedy="Give the missing fields too, or a convention= that supplies them.",
        )
    if open_fields:
        return None, {"preprocessing": f"none: {', '.join(open_fields)} not known"}
    if made.channels not in (1, 3) and not argued:
        return None, {"preprocessing": f"none: pictures do not have {made.channels} channels"}
    values = {name: fact.value for name, fact in facts.items()}
    return Preprocessing(**values), {name: fact.source for name, fact in facts.items()}


def _resize_to(size: object, crop: Fact) -> Fact:
    """timm/data/transforms_factory.py: scale_size, rounded down on each axis."""
    edges = [math.floor(side / crop.value) for side in config.pair("size", size, of="Preprocessing")]
    return Fact(tuple(edges), f"size over crop_pct {crop.value} ({crop.source})")


def _with_heads(facts: dict[str, Fact], shapes: Shapes, where: str) -> dict[str, Fact]:
    """heads and head_dim from each other, where one of them is known."""
    given = facts.get("head_dim")
    if given is not None and type(given.value) is int and given.value == 0:
        facts = {name: fact for name, fact in facts.items() if name != "head_dim"}
    known = [name for name in ("heads", "head_dim") if name in facts]
    counts = [config.whole(name, facts[name].value, least=1) for name in known]
    if len(known) != 1:
        return facts
    (name,), (count,), inner = known, counts, shapes.inner
    if inner.value % count:
        raise ConfigError(
            f"{where}: {name}",
            found=f"{count} ({facts[name].source})",
            expected=f"a divisor of {inner.value} ({inner.source})",
            remedy=f"Give the right {name}=.",
        )
    other = "head_dim" if name == "heads" else "heads"
    return {**facts, other: Fact(inner.value // count, f"{inner.source} and {name} {count}")}


def _with_grid(facts: dict[str, Fact], shapes: Shapes, file_size: Fact | None) -> dict[str, Fact]:
    """position_grid and image_size, where they are not given."""
    facts = dict(facts)
    count, source = shapes.positions
    patch = facts["patch_size"].value
    if "position_grid" not in facts and file_size is not None:
        size = config.pair("image_size", file_size.value)
        rows, columns = (side // edge for side, edge in zip(size, patch, strict=True))
        if rows * columns == count:
            facts["position_grid"] = Fact((rows, columns), f"{file_size.source} over the patch size")
    side = math.isqrt(count)
    if "position_grid" not in facts and side * side == count:
        facts["position_grid"] = Fact((side, side), f"{source}, assumed square")
    if "image_size" not in facts and "position_grid" in facts:
        grid = facts["position_grid"].value
        pixels = tuple(cells * edge for cells, edge in zip(grid, patch, strict=True))
        facts["image_size"] = Fact(pixels, "position grid times patch size")
    return facts


def _agree(facts: Mapping[str, Fact], shapes: Shapes, where: str) -> None:
    lines = [
        f"{_shown(name, facts)}, but {fact.value!r} by the tensors ({fact.source})"
        for name, fact in shapes.fields.items()
        if type(facts[name].value) is not type(fact.value) or facts[name].value != fact.value
    ]
    inner, positions = shapes.inner, shapes.positions
    if "heads" in facts and facts["heads"].value * facts["head_dim"].value != inner.value:
        both = f"{_shown('heads', facts)} times {_shown('head_dim', facts)}"
        lines.append(f"{both}, but {inner.value} by the tensors ({inner.source})")
    grid = facts.get("position_grid")
    if grid and math.prod(grid.value) != positions.value:
        rows = f"{positions.value} positions by the tensors ({positions.source})"
        lines.append(f"{_shown('position_grid', facts)}, but {rows}")
    if lines:
        raise ConfigError(
            where,
            found="contradictions\n  " + "\n  ".join(lines),
            expected="facts that agree with the tensors",
            remedy="Leave out or correct the argument, or give the right value where a file is wrong.",
        )


def _shown(name: str, facts: Mapping[str, Fact]) -> str:
    return f"{name} {facts[name].value!r} ({facts[name].source})"


def _nothing_open(facts: Mapping[str, Fact], shapes: Shapes, where: str, notes: list[str]) -> None:
    names = [name for name in _CONFIG_FIELDS if name not in facts]
    if not names:
        return
    known = conventions.names()
    lines = [f"{name}{_proposal(name, facts, shapes, known)}" for name in names]
    supplied = {name for convention in known for name in conventions.model_facts(convention)}
    ways = [f"{name}=" for name in names if name not in supplied]
    if supplied & set(names):
        ways.append(
            f"convention= ({', '.join(known)}) if the model, and its preprocessing, are that library's"
        )
    raise ConfigError(
        where,
        found="no value for\n  " + "\n  ".join(lines),
        expected="every fact that the tensors do not determine",
        remedy=" ".join([f"Give {', and '.join(ways)}.", *notes]),
    )


def _proposal(name: str, facts: Mapping[str, Fact], shapes: Shapes, known: list[str]) -> str:
    if name == "heads":
        sizes = [facts[field].value for field in ("width", "depth", "mlp_width", "patch_size")]
        variant = conventions.closest_variant(*sizes)
        return f" (heads={conventions.variant(variant)['heads']}, as in {variant})" if variant else ""
    if name == "position_grid":
        return f" (rows, columns: {shapes.positions.value} positions are no square)"
    facts_by = {convention: conventions.model_facts(convention).get(name) for convention in known}
    said = [f'{fact.value!r} by convention="{who}", {fact.source}' for who, fact in facts_by.items() if fact]
    return f" ({'; '.join(said)})" if said else ""
