"""vitref's own format: the canonical names and layouts as they are. It has no config file."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitref.config import Config
from vitref.conventions import Fact
from vitref.weights.formats.format import ConfigFile, Format, Tensors


def _recognises(names: Sequence[str]) -> bool:
    return False  # the names are timm's; a file of ours says in its metadata that it is ours


def _to_canonical(tensors: Mapping[str, Any]) -> Tensors:
    return dict(tensors)


def _from_canonical(tensors: Mapping[str, Any], config: Config) -> Tensors:
    return dict(tensors)


def _read_config(content: Mapping[str, Any], where: str, sizes: Mapping[str, Fact]) -> ConfigFile | None:
    return None


FORMAT = Format("vitref", None, _recognises, _to_canonical, _from_canonical, _read_config)
