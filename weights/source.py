"""Source: where weights came from, and the digest of what they hold."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

_REPLACED = "Weights.replace"
"""The provenance of a tensor that took another's place."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where weights came from.

    path        the file, or None; marked where some tensors have been replaced since
    format      whose names and layouts the file uses: "timm", "huggingface", ...; "init" for drawn weights
    provenance  field of Config or Preprocessing -> where its value came from; and remarks, by tensor or topic
    metadata    the file's own, without ours
    style       which of the format's namings the file uses
    classes     a name for each class, or () where none is known
    crop_pct    crop over resized edge by which the preprocessing was made, or None; it says what the
                preprocessing is at another image size
    """

    path: str | None = None
    format: str = "vitref"
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensors: Mapping[str, npt.NDArray[Any]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    style: str = ""
    classes: tuple[str, ...] = ()
    crop_pct: float | None = None

    def __post_init__(self) -> None:
        for name in ("provenance", "metadata", "tensors"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the tensors' names, dtypes, shapes and values; of nothing else."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            array = self.tensors[name]
            digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def replaced(self, names: Iterable[str]) -> "Source":
        """The same, where these tensors come from elsewhere."""
        before = [name for name, origin in self.provenance.items() if origin == _REPLACED]
        provenance = {**self.provenance, **dict.fromkeys(names, _REPLACED)}
        count = sum(origin == _REPLACED for origin in provenance.values())
        path = self.path and self.path.removesuffix(_mark(len(before))) + _mark(count)
        return dataclasses.replace(self, path=path, provenance=provenance)

    def __reduce__(self) -> tuple[Any, ...]:
        mappings = dict(self.provenance), dict(self.metadata), dict(self.tensors)
        return Source, (self.path, self.format, *mappings, self.style, self.classes, self.crop_pct)


def _mark(count: int) -> str:
    """What stands after the path of a file of whose tensors so many have been replaced."""
    return f", with {count} tensor{'s' if count > 1 else ''} replaced" if count else ""
