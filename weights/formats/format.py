"""What a format is: how it is recognised, and the way to the canonical names and layouts and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import CheckpointError, ConfigError

Tensors: TypeAlias = dict[str, Any]
"""Name -> array."""


class ConfigFile(NamedTuple):
    """What a library's config file says.

    fields        Config field -> Fact
    pixels        Preprocessing field, or crop_pct -> Fact
    convention    the library's own, which the file implies
    architecture  the published name, which may or may not be one of `conventions.architecture`; or ""
    classes       class number -> its name, where the file has names; checked later
    """

    fields: dict[str, Fact]
    pixels: dict[str, Fact]
    convention: str
    architecture: str
    classes: Fact | None = None


def no_facts(tensors: Mapping[str, Any]) -> dict[str, Fact]:
    """The `facts` of a format whose layouts tell no more than the canonical ones."""
    return {}


def already_modern(tensors: Tensors, facts: Mapping[str, Fact]) -> tuple[Tensors, dict[str, str]]:
    """The `modernise` of a format whose files have always been as they are."""
    return tensors, {}


def itself(canonical: str) -> Sequence[str]:
    """The `names` of a format whose names are the canonical ones."""
    return (canonical,)


@dataclass(frozen=True)
class Format:
    """One library's names and layouts.

    name            as users give it
    convention      that the tensor names alone imply, or None when several libraries share them
    recognises      names -> whether they are of this format (and style)
    to_canonical    tensors of a file -> the same values under canonical names and layouts; what is not
                    the model's is left out, as is what cannot be made because a part is missing: the
                    names and shapes in the file are checked afterwards, against `from_canonical`
    from_canonical  its inverse; takes any subset of the parameters, and the Config. Raises ConfigError
                    when the library has no such model. It is also called with arrays of one byte
                    without memory of their own (strides 0), for the shapes alone
    read_config     (content of config.json, where, what the shapes say) -> ConfigFile, or None when it
                    is not its own
    facts           tensors of a file -> Config field -> Fact, where its layouts tell more than the
                    canonical ones (heads, head_dim)
    style           which of several namings of one format; "" for the one that is written by default
    read_pixels     (content of preprocessor_config.json, where) -> Preprocessing field -> Fact, for a
                    library that writes such a file
    modernise       (tensors of a file, what is said about the model) -> the same tensors as the library
                    writes them today, and name -> remark for each that changed
    names           canonical name -> the names in the file, three where query, key and value are apart
    """

    name: str
    convention: str | None
    recognises: Callable[[Sequence[str]], bool]
    to_canonical: Callable[[Mapping[str, Any]], Tensors]
    from_canonical: Callable[[Mapping[str, Any], Config], Tensors]
    read_config: Callable[[Mapping[str, Any], str, Mapping[str, Fact]], ConfigFile | None]
    facts: Callable[[Mapping[str, Any]], dict[str, Fact]] = no_facts
    style: str = ""
    read_pixels: Callable[[Mapping[str, Any], str], dict[str, Fact]] | None = None
    modernise: Callable[[Tensors, Mapping[str, Fact]], tuple[Tensors, dict[str, str]]] = already_modern
    names: Callable[[str], Sequence[str]] = itself


def stacked(parts: Sequence[HostArray]) -> HostArray | None:
    """One array after the other along the first axis, in memory that nobody can write to; None for shapes
    that do not fit together. Raises CheckpointError for different dtypes: none is converted."""
    first = parts[0]
    if any(part.ndim == 0 or part.shape[1:] != first.shape[1:] for part in parts):
        return None
    kinds = [str(part.dtype) for part in parts]
    if len(set(kinds)) > 1:
        raise CheckpointError(
            "query, key and value",
            found=", ".join(kinds),
            expected="one dtype for the three, which are one tensor here",
            remedy="Convert them to one dtype first; nothing was loaded.",
        )
    raw, rows = b"".join(part.tobytes() for part in parts), sum(len(part) for part in parts)
    return np.frombuffer(raw, first.dtype).reshape(rows, *first.shape[1:])


def cannot_express(format: str, wrong: Mapping[str, Any], expected: str) -> ConfigError:
    """The error for a model that a library has no place for: Config field -> the value it cannot have."""
    return ConfigError(
        f"format {format}",
        found=", ".join(f"{name}={value!r}" for name, value in wrong.items()),
        expected=expected,
        remedy='Choose a format that has such models; format="vitref" has them all.',
    )
