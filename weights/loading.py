"""Loading: find the file, read the tensors, collect what is said about them, and make Weights of it."""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from vitref import config, conventions
from vitref import preprocessing as pixels
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import check, formats, record, refusals, resolve, shapes
from vitref.weights.container import Source, Weights
from vitref.weights.files import StrPath, load_tensors, path_text, read_bytes

CONFIG_FILE = "config.json"

_FIELDS = config.FIELDS | pixels.FIELDS
_RECIPE = pixels.FIELDS - config.FIELDS


class Said(NamedTuple):
    """What one source says: Config field -> Fact, and Preprocessing field (or crop_pct) -> Fact."""

    model: Mapping[str, Fact]
    pixels: Mapping[str, Fact]


class Beside(NamedTuple):
    """The library's config file beside the tensors, if it is one of this format, and remarks about it."""

    file: formats.ConfigFile | None
    remarks: list[str]


def load(
    path: StrPath,
    *,
    format: str | None = None,
    convention: str | None = None,
    preprocessing: Preprocessing | None = None,
    **fields: Any,
) -> Weights:
    """The weights in a safetensors file, or in a folder that holds one and perhaps a config.json.

    path           the file or folder
    format         whose names the tensors have ("timm", "vitref"); recognised when None
    convention     whose numerics and pixels apply ("timm") where no file and no argument says
    preprocessing  all of what the pixels need, instead of single fields
    fields         any field of Config or Preprocessing; `channels` sets both

    All or nothing. Raises CheckpointError for the file and its tensors, and ConfigError when a fact is
    unknown, contradictory or open; open ones are listed with the published value for such a model.
    """
    arguments = _arguments(fields, preprocessing)
    file = find(path)
    tensors, metadata = load_tensors(file)
    own = record.read(metadata, file)
    layout = _layout(format, own, tensors, file)
    canonical = layout.to_canonical(tensors)
    found = shapes.read(canonical, file)
    check.require(canonical, shapes.expected(found), file)

    beside = Beside(None, []) if own else _beside(file, layout, found.fields["width"].value)
    said = [
        arguments,
        _recorded(own, file, arguments),
        *_from_library(beside, layout.convention if convention is None else convention),
    ]
    file_size = beside.file.fields.get("image_size") if beside.file else None
    facts = resolve.model([source.model for source in said], found, file_size, file, beside.remarks)
    made = Config(**{name: fact.value for name, fact in facts.items()})
    provenance = {name: fact.source for name, fact in facts.items()}
    if preprocessing is None:
        preprocessing, sources = resolve.pixels([source.pixels for source in said], made, facts["channels"])
    else:
        sources = dict.fromkeys(_RECIPE, "argument preprocessing")
    foreign = {name: text for name, text in metadata.items() if name != record.METADATA}
    source = Source(file, layout.name, _in_order({**sources, **provenance}), foreign)
    return Weights(canonical, made, preprocessing=preprocessing, source=source)


def _layout(
    format: str | None, own: Mapping[str, Any], tensors: Mapping[str, Any], file: str
) -> formats.Format:
    if format is None and not own:
        return formats.detect(tensors, file)
    return formats.get(own["format"] if format is None else format)


def find(path: StrPath) -> str:
    """The file itself, or the safetensors file in a folder. Raises CheckpointError when there is not one."""
    name = path_text(path)
    try:
        if not os.path.isdir(name):
            return name
        inside = sorted(os.listdir(name))
    except OSError as error:
        raise refusals.unreadable(name, error) from error
    files = [entry for entry in inside if entry.endswith(".safetensors")]
    if "model.safetensors" in files or len(files) == 1:
        return os.path.join(name, "model.safetensors" if "model.safetensors" in files else files[0])
    raise CheckpointError(
        name,
        found=f"a folder with {', '.join(files or inside[:10]) or 'nothing in it'}",
        expected="model.safetensors, or one safetensors file",
        remedy="Give the file itself." if files else "Put the weights there as model.safetensors.",
    )


def _arguments(fields: Mapping[str, Any], recipe: Preprocessing | None) -> Said:
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise ConfigError(
            "load",
            found=f"unknown field {', '.join(unknown)}",
            expected=f"fields of Config or Preprocessing ({', '.join(sorted(_FIELDS))})",
            remedy="Correct the spelling.",
        )
    both = sorted(set(fields) & _RECIPE)
    if recipe is not None and (both or not isinstance(recipe, Preprocessing)):
        raise ConfigError(
            "preprocessing",
            found=f"both preprocessing= and {', '.join(both)}" if both else repr(recipe),
            expected="a Preprocessing, or its fields",
            remedy="Give one of the two.",
        )
    return _said({name: Fact(value, f"argument {name}={value!r}") for name, value in fields.items()})


def _in_order(provenance: Mapping[str, str]) -> dict[str, str]:
    order = [*config.Config.__dataclass_fields__, *Preprocessing.__dataclass_fields__, *provenance]
    return {name: provenance[name] for name in dict.fromkeys(order) if name in provenance}


def _said(facts: Mapping[str, Fact]) -> Said:
    return Said(
        {name: fact for name, fact in facts.items() if name in config.FIELDS},
        {name: fact for name, fact in facts.items() if name in _RECIPE},
    )


def _recorded(own: Mapping[str, Any], file: str, arguments: Said) -> Said:
    """The record in the file; without the size of its pixels when the arguments change the image size."""
    facts = record.facts(own, file)
    said = _said(facts)
    if "image_size" in arguments.model and "size" in facts:
        size = config.pair("image_size", arguments.model["image_size"].value)
        if size != config.pair("size", facts["size"].value):
            recipe = {name: fact for name, fact in said.pixels.items() if name not in ("size", "resize_to")}
            return Said(said.model, recipe)
    return said


def _beside(file: str, layout: formats.Format, width: int) -> Beside:
    folder = os.path.dirname(file)
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.lexists(path):
        return Beside(None, [])
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        content = f"no JSON ({error})"
    if not isinstance(content, dict):
        raise ConfigError(
            path,
            found=content if isinstance(content, str) else f"a JSON {type(content).__name__}",
            expected="a JSON object",
            remedy="Correct the file, or move the weights away from it.",
        )
    try:
        found = layout.read_config(content, CONFIG_FILE, width)
    except ConfigError as error:
        where = os.path.join(folder, error.where)
        raise ConfigError(where, found=error.found, expected=error.expected, remedy=error.remedy) from None
    if found is None:
        return Beside(
            None, [f"The {CONFIG_FILE} beside it is not one that {layout.name} writes; it was not used."]
        )
    if conventions.architecture(found.architecture) is None:
        remark = f"The architecture {found.architecture!r} in {CONFIG_FILE} is not one that is known here."
        return Beside(found, [remark])
    return Beside(found, [])


def _from_library(beside: Beside, convention: str | None) -> list[Said]:
    """The config file, the convention (the one asked for, else the one implied), and the published table."""
    said = [Said(beside.file.fields, beside.file.pixels)] if beside.file else []
    implied = beside.file.convention if beside.file else None
    named = implied if convention is None else convention
    if named is not None:
        model, recipe = conventions.model_facts(named), conventions.pixel_facts(named)
        said.append(Said(_marked(model, named), _marked(recipe, named)))
    published = conventions.architecture(beside.file.architecture) if beside.file else None
    if published:
        said.append(
            Said({name: Fact(value, published.source) for name, value in published.value.items()}, {})
        )
    return said


def _marked(facts: Mapping[str, Fact], convention: str) -> dict[str, Fact]:
    return {
        name: Fact(fact.value, f"convention {convention} ({fact.source})") for name, fact in facts.items()
    }
