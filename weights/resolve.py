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
from vitref.processors import CONFIG_FILE
from vitref.weights import positions
from vitref.weights.positions import Said
from vitref.weights.shapes import Shapes

_PAIRS = ("patch_size", "position_grid", "image_size")

_CONFIG_FIELDS = [name for name in config.Config.__dataclass_fields__ if name != "head_dim"]

_DEFAULTS = {"position_resize": Fact("", "not known; it matters at another image size only")}


def model(
    said: list[Said], shapes: Shapes, file_size: Fact | None, where: str, notes: list[str]
) -> dict[str, Fact]:
    """Every Config field with its source.

    said       who says what of the model, the first to be believed first; arguments come first
    shapes     what the tensors determine
    file_size  (H, W) for which the library's config file says the position table was made, if it does
    notes      said in the error about open fields, one sentence each

    Raises ConfigError when a field contradicts the tensors, or when fields are open.
    """
    facts = dict(ChainMap(*map(dict, said)))
    if "heads" in said[0] and "head_dim" not in said[0]:
        facts.pop("head_dim", None)
    facts = {**_DEFAULTS, **shapes.fields, **facts}
    for name in _PAIRS:
        if name in facts:
            facts[name] = Fact(config.pair(name, facts[name].value), facts[name].source)
    facts = _with_heads(facts, shapes)
    facts = positions.with_grid(facts, shapes, file_size)
    _agree(facts, shapes, where)
    _nothing_open(facts, shapes, where, notes)
    return facts


def pixels(said: list[Said], made: Config, channels: Fact) -> tuple[Preprocessing | None, dict[str, str]]:
    """The Preprocessing, or None when not all of it is known; and where each field came from.

    said      as for `model`, of Preprocessing fields and what `conventions.pixel_facts` adds to them
    made      the model, whose image_size and channels are those of the pixels
    channels  of the model, with its source

    Raises ConfigError when the arguments give some of the fields and others are open.
    """
    facts = dict(ChainMap(*map(dict, said)))
    facts.setdefault("size", Fact(made.image_size, "image_size"))
    facts["channels"] = channels
    facts = preprocessing.resolved(facts)
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


def _with_heads(facts: dict[str, Fact], shapes: Shapes) -> dict[str, Fact]:
    """heads and head_dim from each other, where one of them is known and divides the tensors' rows."""
    given = facts.get("head_dim")
    if given is not None and type(given.value) is int and given.value == 0:
        facts = {name: fact for name, fact in facts.items() if name != "head_dim"}
    known = [name for name in ("heads", "head_dim") if name in facts]
    counts = [config.whole(name, facts[name].value, least=1) for name in known]
    if len(known) != 1 or shapes.inner.value % counts[0]:
        return facts
    (name,), (count,), inner = known, counts, shapes.inner
    other = "head_dim" if name == "heads" else "heads"
    return {**facts, other: Fact(inner.value // count, f"{inner.source} and {name} {count}")}


def _agree(facts: Mapping[str, Fact], shapes: Shapes, where: str) -> None:
    wrong = {
        name: fact
        for name, fact in shapes.fields.items()
        if type(facts[name].value) is not type(fact.value) or facts[name].value != fact.value
    }
    lines = [
        f"{_shown(name, facts)}, but {fact.value!r} by the tensors ({fact.source})"
        for name, fact in wrong.items()
    ]
    right = {name: f"{fact.value!r}" for name, fact in wrong.items()}
    if heads := _heads_disagree(facts, shapes.inner):
        lines += heads
        right |= {name: "" for name in ("heads", "head_dim") if name in facts}
    grid = facts.get("position_grid")
    if grid and "class_position" not in facts:
        lines.append(
            f"{_shown('position_grid', facts)}, but {shapes.rows.value} rows in {shapes.rows.source}"
        )
        right |= _right_grid(facts, 0)
    elif grid and math.prod(grid.value) != positions.count(facts, shapes):
        rows = f"{positions.count(facts, shapes)} positions by the tensors ({shapes.rows.source})"
        lines.append(f"{_shown('position_grid', facts)}, but {rows}")
        right |= _right_grid(facts, positions.square(positions.count(facts, shapes)))
    if lines:
        raise ConfigError(
            where,
            found="contradictions\n  " + "\n  ".join(lines),
            expected="facts that agree with the tensors",
            remedy=_remedy(right, facts),
        )


def _right_grid(facts: Mapping[str, Fact], side: int) -> dict[str, str]:
    """The grid that the tensors allow, if it is square; and the image size, where the same file says both."""
    found = {"position_grid": f"{(side, side)}" if side else ""}
    size = facts.get("image_size")
    if size and not _is_argument(size) and not _is_argument(facts["position_grid"]):
        height, width = facts["patch_size"].value
        found["image_size"] = f"{(side * height, side * width)}" if side else ""
    return found


def _remedy(right: Mapping[str, str], facts: Mapping[str, Fact]) -> str:
    """right: wrong field -> the right value, or "" where that is not known."""
    arguments = [name for name in right if name in facts and _is_argument(facts[name])]
    stated = {name: value for name, value in right.items() if name not in arguments}
    named = [name for name in stated if name in facts and facts[name].source.startswith(CONFIG_FILE)]
    sentences = []
    if arguments:
        sentences.append(f"Leave out or correct {' and '.join(f'{name}=' for name in arguments)}.")
    if stated:
        given = " and ".join(f"{name}={value}" for name, value in stated.items())
        together = " together" if len(stated) > 1 else ""
        sentences.append(f"Correct {CONFIG_FILE if named else 'the file'}, or give {given}{together}.")
    return " ".join(sentences)


def _is_argument(fact: Fact) -> bool:
    return fact.source.startswith("argument ")


def _heads_disagree(facts: Mapping[str, Fact], inner: Fact) -> list[str]:
    known = [name for name in ("heads", "head_dim") if name in facts]
    if len(known) == 1:
        return [f"{_shown(known[0], facts)} is no divisor of {inner.value} by the tensors ({inner.source})"]
    if known and math.prod(facts[name].value for name in known) != inner.value:
        both = " times ".join(_shown(name, facts) for name in known)
        return [f"{both}, but {inner.value} by the tensors ({inner.source})"]
    return []


def _shown(name: str, facts: Mapping[str, Fact]) -> str:
    return f"{name} {facts[name].value!r} ({facts[name].source})"


def _nothing_open(facts: Mapping[str, Fact], shapes: Shapes, where: str, notes: list[str]) -> None:
    names = [name for name in _CONFIG_FIELDS if name not in facts and name != "image_size"]
    if "class_position" in names:
        names.remove("position_grid" if positions.square(shapes.rows.value) else "class_position")
    if not names:
        return
    known = conventions.names()
    lines = [f"{name}{_proposal(name, facts, shapes, known)}" for name in names]
    supplied = {name for convention in known for name in conventions.model_facts(convention)}
    ways = [f"{name}=" for name in names if name not in supplied]
    if "heads" in names:
        ways[ways.index("heads=")] = "heads= (or architecture=, its published name)"
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
        if "class_position" in facts:
            return f" (rows, columns: {positions.count(facts, shapes)} positions are no square)"
        return f" (rows, columns: the table has {shapes.rows.value} rows, perhaps one for the class token)"
    if name == "class_position":
        rows = shapes.rows.value
        side = positions.square(rows)
        return f" (whether the {rows} rows are {side} x {side} patches, or {rows - 1} and the class token)"
    facts_by = {convention: conventions.model_facts(convention).get(name) for convention in known}
    said = [f'{fact.value!r} by convention="{who}", {fact.source}' for who, fact in facts_by.items() if fact]
    return f" ({'; '.join(said)})" if said else ""
