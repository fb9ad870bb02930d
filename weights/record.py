"""The record that `Weights.save` leaves in a file's metadata, so that `load` needs nothing else."""

import json
import os
from collections.abc import Mapping
from typing import Any

from vitref import config, preprocessing
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import finding, npz
from vitref.weights.files import read_metadata
from vitref.weights.source import Source

METADATA = "vitref"
"""Its key in the file's metadata."""

VERSION = 1
"""Of its layout."""

_FIELDS = config.FIELDS | preprocessing.FIELDS

_TRACE = "vitref trace"
"""How the format of a recording's metadata begins."""

_FROM, _THERE = "metadata of ", "; there: "


def write(layout: str, model: Config, recipe: Preprocessing | None, source: Source) -> str:
    """The record as JSON. What a file said of an older file's provenance is kept once, not nested; remarks
    that are about no field are about that file, and are left there."""
    stated = {name: origin for name, origin in source.provenance.items() if name in _FIELDS}
    content = {
        "version": VERSION,
        "format": layout,
        "config": model.to_dict(),
        "preprocessing": recipe.to_dict() if recipe else None,
        "provenance": {name: _origin(origin) for name, origin in stated.items() if _origin(origin)},
    }
    if source.classes:
        content["classes"] = list(source.classes)
    crop = preprocessing.crop_pct(recipe, source.crop_pct) if recipe else None
    if crop is not None:
        content["crop_pct"] = crop
    return json.dumps(content, sort_keys=True)


def is_ours(source: str) -> bool:
    """Whether a fact with this source is from a record."""
    return source.startswith(_FROM)


def place(source: str) -> str:
    """The file that says so, without where it had that from."""
    return source.partition(_THERE)[0]


def refuse_trace(metadata: Mapping[str, str], file: str) -> None:
    """Raise CheckpointError when the metadata is that of a recording, which `vitref.trace` makes."""
    try:
        about = json.loads(metadata.get("trace", ""))
    except (ValueError, RecursionError):
        return
    if isinstance(about, dict) and str(about.get("format")).startswith(_TRACE):
        raise CheckpointError(
            file,
            found="a trace written by vitref, not weights",
            expected="a checkpoint",
            remedy="Give the file of the weights that the trace was made from.",
        )


def _origin(source: str) -> str:
    """What was said before any file recorded it; empty when that is not known."""
    origin = source.rpartition(_THERE)[2]
    return "" if origin.startswith(_FROM) else origin


def read(metadata: Mapping[str, str], file: str) -> dict[str, Any]:
    """What `Weights.save` wrote into the file's metadata; empty when the file is not from there."""
    if METADATA not in metadata:
        return {}
    where = f"{file}: metadata {METADATA}"
    try:
        content = json.loads(metadata[METADATA])
        version = content["version"]
        if version == VERSION and not _is_readable(content):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CheckpointError(
            where,
            found="a record that cannot be read",
            expected="what Weights.save of this version writes",
            remedy="Save the weights again from their source.",
        ) from None
    if version != VERSION:
        raise CheckpointError(
            where,
            found=f"layout version {version!r}",
            expected=f"{VERSION}",
            remedy="Use a newer version of vitref.",
        )
    return dict(content)


def _is_readable(content: Mapping[str, Any]) -> bool:
    model, recipe, origins = content["config"], content["preprocessing"] or {}, content["provenance"]
    mappings = all(isinstance(part, dict) for part in (model, recipe, origins))
    return (
        mappings
        and isinstance(content["format"], str)
        and set(model) <= config.FIELDS
        and set(recipe) <= preprocessing.FIELDS
        and all(isinstance(origin, str) for origin in origins.values())
        and _are_names(content.get("classes", []))
        and type(content.get("crop_pct", 1.0)) in (int, float)
        and 0 < content.get("crop_pct", 1.0) <= 1
    )


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def class_names(content: Mapping[str, Any], file: str) -> Fact | None:
    """The names of the classes, from what `read` gave for `file`."""
    names = content.get("classes")
    return Fact(names, f"{_FROM}{os.path.basename(file)}") if names else None


def facts(content: Mapping[str, Any], file: str) -> dict[str, Fact]:
    """Config or Preprocessing field -> Fact, from what `read` gave for `file`."""
    if not content:
        return {}
    source, origins = f"{_FROM}{os.path.basename(file)}", content["provenance"]
    recipe = content["preprocessing"] or {}
    found = {
        name: Fact(value, f"{source}{_THERE}{origins[name]}" if name in origins else source)
        for name, value in {**recipe, **content["config"]}.items()
    }
    whole = recipe and recipe.get("size") == recipe.get("resize_to")
    crop = content.get("crop_pct", 1.0 if whole else None)
    return found if crop is None else {**found, "crop_pct": Fact(crop, source)}


def recipe(path: str) -> Preprocessing | None:
    """The preprocessing recorded in a file of weights, or in those of a folder; None where none is.

    Reads no tensor. Raises CheckpointError for a damaged file or record, and ConfigError for a record
    whose values are wrong.
    """
    file = _weights_file(path)
    if file is None:
        return None
    metadata = npz.read_metadata(file) if file.lower().endswith(".npz") else read_metadata(file)
    content = read(metadata, file)
    if not content:
        return None
    if content["preprocessing"] is None:
        raise ConfigError(
            f"{file}: metadata {METADATA}",
            found="weights whose preprocessing is not known",
            expected="a recorded one",
            remedy="Give a config file itself, or Preprocessing.convention(name, size=).",
        )
    try:
        return Preprocessing(**content["preprocessing"])
    except (ConfigError, TypeError) as error:
        raise CheckpointError(
            f"{file}: metadata {METADATA}",
            found=f"a preprocessing that is wrong ({error})",
            expected="what Weights.save of this version writes",
            remedy="Save the weights again from their source.",
        ) from None


def _weights_file(path: str) -> str | None:
    """The file that `path` is or holds, if it is of a kind that can have a record."""
    if os.path.isdir(path):
        try:
            path = finding.find(path)
        except CheckpointError:
            return None
    return path if path.lower().endswith((".safetensors", ".npz")) else None


preprocessing.RECORDS.append(recipe)
