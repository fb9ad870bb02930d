"""Loading: find the file, read the tensors, collect what is said about them, and make Weights of it."""

import os
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from vitref import config, conventions
from vitref import preprocessing as pixels
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.processors import CONFIG_FILE, PROCESSOR_FILE
from vitref.weights import beside, check, classes, finding, formats, positions, record, resolve, shapes
from vitref.weights.beside import Beside
from vitref.weights.container import Source, Weights
from vitref.weights.files import StrPath
from vitref.weights.said import RECIPE, Said, against, blamed, same, split

_FIELDS = config.FIELDS | pixels.FIELDS


def load(
    path: StrPath,
    *,
    format: str | None = None,
    convention: str | None = None,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    **fields: Any,
) -> Weights:
    """The weights in a file, or in a folder that holds one and perhaps config files.

    path           a safetensors file, a NumPy archive (.npz), an index of shards, or the folder of one
    format         whose names the tensors have ("timm", "huggingface", ...); recognised when None
    convention     whose numerics and pixels apply ("timm", "huggingface", "google") where no file and
                   no argument says
    architecture   the published name of the model ("vit_base_patch16_224", say), for what neither the
                   tensors nor a file tell, such as the number of heads
    preprocessing  all of what the pixels need, instead of single fields
    fields         any field of Config or Preprocessing; `channels` sets both

    All or nothing. Raises CheckpointError for the file and its tensors, and ConfigError when a fact is
    unknown, contradictory or open; open ones are listed with the published value for such a model.
    """
    arguments = _arguments(fields, preprocessing)
    file = finding.find(path)
    tensors, metadata = finding.read(file)
    record.refuse_trace(metadata, file)
    own = record.read(metadata, file)
    layout = _layout(format, own, tensors, file)
    canonical = layout.to_canonical(tensors)
    sizes = shapes.read(canonical, tensors, layout, file)
    files = Beside(None, []) if own else beside.read(file, layout, sizes.fields)
    stated = [_recorded(own, file, arguments), *_from_files(files, arguments, architecture)]
    said = [against(arguments, stated), *stated, Said(layout.facts(tensors), {})]

    with blamed(file, said):
        tensors, remarks = layout.modernise(dict(tensors), ChainMap(*[dict(source.model) for source in said]))
        if remarks:
            canonical = layout.to_canonical(tensors)
            sizes = shapes.read(canonical, tensors, layout, file)
        file_size = files.file.fields.get("image_size") if files.file else None
        found, position = positions.tokens(sizes, [source.model for source in said], file_size)
        check.require(tensors, shapes.expected(found, layout.facts(tensors) | position, layout), file)

        said += [
            Said(position, {}),
            *_conventional(convention, files, None if own else layout.convention, found),
        ]
        facts = resolve.model([source.model for source in said], found, file_size, file, files.remarks)
        made = Config(**{name: fact.value for name, fact in facts.items()})
        provenance = {name: fact.source for name, fact in facts.items()} | remarks
        if preprocessing is None:
            recipes = [source.pixels for source in said]
            preprocessing, sources = resolve.pixels(recipes, made, facts["channels"])
            _require_one_size(file, made, preprocessing, sources)
        else:
            _require_fitting(preprocessing, made)
            sources = dict.fromkeys(RECIPE, "argument preprocessing")
    stated_names = files.file.classes if files.file else record.class_names(own, file)
    names, about_names = classes.names(stated_names, made.classes)
    source = Source(
        file,
        layout.name,
        _in_order({**sources, **provenance, **about_names, **_about(files)}),
        {name: text for name, text in metadata.items() if name != record.METADATA},
        style=layout.style,
        classes=names,
        crop_pct=next((s.pixels["crop_pct"].value for s in said if "crop_pct" in s.pixels), None),
    )
    return Weights(canonical, made, preprocessing=preprocessing, source=source)


def _layout(
    format: str | None, own: Mapping[str, Any], tensors: Mapping[str, Any], file: str
) -> formats.Format:
    return formats.detect(tensors, file, own["format"] if own and format is None else format)


def _arguments(fields: Mapping[str, Any], recipe: Preprocessing | None) -> Said:
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise ConfigError(
            "load",
            found=f"unknown field {', '.join(unknown)}",
            expected=f"fields of Config or Preprocessing ({', '.join(sorted(_FIELDS))})",
            remedy="Correct the spelling.",
        )
    both = sorted(set(fields) & RECIPE)
    if recipe is not None and (both or not isinstance(recipe, Preprocessing)):
        raise ConfigError(
            "preprocessing",
            found=f"both preprocessing= and {', '.join(both)}" if both else repr(recipe),
            expected="a Preprocessing, or its fields",
            remedy="Give one of the two.",
        )
    return split({name: Fact(value, f"argument {name}={value!r}") for name, value in fields.items()})


def _in_order(provenance: Mapping[str, str]) -> dict[str, str]:
    order = [*config.Config.__dataclass_fields__, *Preprocessing.__dataclass_fields__, *provenance]
    return {name: provenance[name] for name in dict.fromkeys(order) if name in provenance}


def _recorded(own: Mapping[str, Any], file: str, arguments: Said) -> Said:
    """The record in the file; without the size of its pixels when the arguments change the image size."""
    facts = record.facts(own, file)
    said = split(facts)
    asked, recorded = arguments.model.get("image_size"), facts.get("size")
    if asked is None or recorded is None or same("size", asked.value, recorded.value):
        return said
    recipe = {name: fact for name, fact in said.pixels.items() if name not in ("size", "resize_to")}
    return Said(said.model, recipe)


def _from_files(files: Beside, arguments: Said, architecture: str | None) -> list[Said]:
    """The config file, and the published table for the architecture that the argument or the file names."""
    said = [Said(files.file.fields, _pixels(files, arguments))] if files.file else []
    if architecture is not None:
        named = conventions.named_architecture(architecture)
        return [_published(named, f"argument architecture={architecture!r}: "), *said]
    listed = conventions.architecture(files.file.architecture) if files.file else None
    return [*said, _published(listed, "")] if listed else said


def _pixels(files: Beside, arguments: Said) -> Mapping[str, Fact]:
    """What a file says of the pixels; without their size when an argument gives the image's."""
    found = files.file.pixels if files.file else {}
    return {
        name: fact for name, fact in found.items() if name != "size" or "image_size" not in arguments.model
    }


def _require_one_size(
    file: str, made: Config, recipe: Preprocessing | None, sources: Mapping[str, str]
) -> None:
    """A file that makes pictures of another size than the model's contradicts the model's own."""
    if recipe and recipe.size != made.image_size and sources["size"].startswith(PROCESSOR_FILE):
        raise ConfigError(
            os.path.join(os.path.dirname(file), sources["size"]),
            found=f"pictures of {recipe.size}",
            expected=f"{made.image_size}, the model's image_size",
            remedy="Give image_size=, to which the positions are then resized, or correct the file.",
        )


def _require_fitting(recipe: Preprocessing, made: Config) -> None:
    """A recipe that is given must be for pictures that the model takes."""
    if (recipe.size, recipe.channels) != (made.image_size, made.channels):
        raise ConfigError(
            "preprocessing",
            found=f"pictures of {recipe.size} with {recipe.channels} channels",
            expected=f"{made.image_size} with {made.channels}, as the model takes them",
            remedy="Give a preprocessing= for this model, or image_size= for these pictures.",
        )


def _about(files: Beside) -> dict[str, str]:
    """What a user should know of the config file."""
    return {CONFIG_FILE: " ".join(files.remarks)} if files.remarks else {}


def _published(architecture: Fact, prefix: str) -> Said:
    source = prefix + architecture.source
    return Said({name: Fact(value, source) for name, value in architecture.value.items()}, {})


def _conventional(asked: str | None, files: Beside, implied: str | None, found: shapes.Shapes) -> list[Said]:
    """The convention asked for, else the one that a file or the format implies; after what tensors imply.

    Our own record is complete, and implies none."""
    named = asked if asked is not None else files.file.convention if files.file else implied
    said = []
    if not found.fields["class_token"].value:
        said.append(Said({"pool": Fact("mean", "there is no class token")}, {}))
    if named is not None:
        model, recipe = conventions.model_facts(named), conventions.pixel_facts(named)
        if named == "timm" and found.fields["final_norm"].value == "pooled":
            model["pool"] = conventions.TIMM_POOL_WITH_NORM
        said.append(Said(_marked(model, named), _marked(recipe, named)))
    return said


def _marked(facts: Mapping[str, Fact], convention: str) -> dict[str, Fact]:
    return {
        name: Fact(fact.value, f"convention {convention} ({fact.source})") for name, fact in facts.items()
    }
