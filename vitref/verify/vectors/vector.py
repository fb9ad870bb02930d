"""What a test vector is: named arrays in, named arrays out, and how far rounding may move each of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitref.array import HostArray

FORMAT = "vitref vectors 1"

RESULTS = {
    "valid": "an implementation gives these outputs and gradients",
    "boundary": "the same, at the edge of what is allowed: one element, saturation, nothing kept",
    "rejected": "no outputs: an implementation refuses these inputs with an error",
}
"""Result of a vector -> what it asks of an implementation."""


@dataclass(frozen=True)
class Vector:
    """One case of a group.

    result      of `RESULTS`
    note        what is special about it
    settings    what is no array: eps, heads, the settings of a model
    inputs      arrays that are given, cotangents among them
    outputs     what the forward pass makes of them
    gradients   what the backward pass makes of them
    tolerances  name in outputs or gradients -> precision -> the largest allowed |found - expected|
    flags       mistake of the catalogue -> the coarsest precision in which its error exceeds a tolerance
    """

    result: str
    note: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, HostArray]
    outputs: Mapping[str, HostArray] = field(default_factory=dict)
    gradients: Mapping[str, HostArray] = field(default_factory=dict)
    tolerances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """The vectors of one component or model, which share a file.

    kind   "component", "model" or "pixels"
    about  text: the equations and shapes of a component, what a model has that others have not; its source
    """

    kind: str
    name: str
    about: Mapping[str, str]
    vectors: tuple[Vector, ...]

    @property
    def file(self) -> str:
        """Its path in the pack."""
        return f"{self.kind}/{self.name}.safetensors"
