"""What a format is: how it is recognised, and the way to the canonical names and layouts and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from vitref.config import Config
from vitref.conventions import Fact

Tensors: TypeAlias = dict[str, Any]
"""Name -> array."""


class ConfigFile(NamedTuple):
    """What a library's config file says.

    fields        Config field -> Fact
    pixels        Preprocessing field, or crop_pct -> Fact
    convention    the library's own, which the file implies
    architecture  the published name, which may or may not be one of `conventions.architecture`
    """

    fields: dict[str, Fact]
    pixels: dict[str, Fact]
    convention: str
    architecture: str


@dataclass(frozen=True)
class Format:
    """One library's names and layouts.

    name            as users give it
    convention      that the tensor names alone imply, or None when several libraries share them
    recognises      names -> whether they are of this format
    to_canonical    tensors of a file -> the same values under canonical names and layouts
    from_canonical  its inverse; takes any subset of the parameters, and the Config
    read_config     (content of config.json, where, width) -> ConfigFile, or None when it is not its own
    """

    name: str
    convention: str | None
    recognises: Callable[[Sequence[str]], bool]
    to_canonical: Callable[[Mapping[str, Any]], Tensors]
    from_canonical: Callable[[Mapping[str, Any], Config], Tensors]
    read_config: Callable[[Mapping[str, Any], str, int], ConfigFile | None]
