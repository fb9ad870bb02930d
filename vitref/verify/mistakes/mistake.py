"""What a mistake is: plain data about a wrong program. `planting` puts it into a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vitref.array import HostArray
from vitref.verify.mistakes import edit

Tensors = dict[str, HostArray]

VALUE = "{value}"
"""Stands in `edits` for the constant of a mistake that has a free one."""


class Free(NamedTuple):
    """A constant that a program may have wrong in any way, between `low` and `high`, both above 0.

    A search goes in equal steps of the logarithm. `typical` is planted where no value is given.
    """

    low: float
    high: float
    typical: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """name        short, unique; as the command line takes it
    what        one sentence: what the wrong program does
    look        what to look for in a program's code, settings or files; changed lines are shown beside it
    refute      a counter-test: what to measure, and what would show that this is not the cause
    topic       the entry of `topics.TOPICS` that it belongs to; "" where it is known without a report
    evidence    public reports of it, owner/repository#number; () for a variant of one that has
                some, and where it is known without a report
    shows       where it shows first: a pattern (fnmatch) of the first tap that moves
    backward    True when the forward pass is right and a gradient is wrong

    It is planted in one of four ways:

    edits       component -> its changed lines, "as it is -> as it stands in the wrong program"; a
                mistake of the forward pass brings the backward pass that belongs to it
    config      Config -> another Config for the same tensors
    tensors     (canonical tensors, Config) -> those tensors that a wrong loader fills otherwise
    pixels      (pictures uint8 (N, H, W, C), Preprocessing) -> the array (N, C, H, W) that comes out

    on_arrays   `pixels` takes pictures that are preprocessed already as well, float (N, C, H, W)
    free        a constant to be estimated: `edits` then contain "{value}", and `config`, `tensors` and
                `pixels` take it as a further argument. A mistake without one that explains as much is the
                better explanation
    needs       fields of Config without which there is no place for it: "class_token", "layer_scale", ...
    alike       mistakes with the same outputs, on every model or on those of `alike_on` alone; they differ
                in taps between, or in gradients
    alike_on    in words, the models on which `alike` holds; "" for all
    equivalent  a proof that outputs and gradients are nevertheless the same; "" for all others
    """

    name: str
    what: str
    evidence: tuple[str, ...]
    shows: str
    look: str = ""
    refute: str = ""
    topic: str = ""
    backward: bool = False
    edits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Callable[..., Any] | None = None
    tensors: Callable[..., Tensors] | None = None
    pixels: Callable[..., HostArray] | None = None
    on_arrays: bool = False
    free: Free | None = None
    needs: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    alike_on: str = ""
    equivalent: str = ""

    @property
    def planted_in(self) -> str:
        """ "code", "settings", "weights" or "pixels"."""
        ways = {"code": self.edits, "settings": self.config, "weights": self.tensors, "pixels": self.pixels}
        return next(name for name, way in ways.items() if way)

    @property
    def lines(self) -> str:
        """The changed lines of code, as a difference of texts; "" for a mistake that is not one of code."""
        return self.difference()

    def difference(self, value: float | None = None) -> str:
        """`lines`, with this value for the constant where there is one."""
        return "\n".join(edit.difference(name, edits) for name, edits in self.edits_with(value).items())

    def edits_with(self, value: float | None = None) -> dict[str, tuple[str, ...]]:
        """`edits`, with this value for the constant, or the typical one."""
        if self.free is None:
            return dict(self.edits)
        text = repr(float(self.free.typical if value is None else value))
        return {name: tuple(e.replace(VALUE, text) for e in edits) for name, edits in self.edits.items()}

    def constant(self, value: float | None = None) -> tuple[float, ...]:
        """What `config`, `tensors` and `pixels` take besides: nothing, or this value, or the typical one."""
        if self.free is None:
            return ()
        return (float(self.free.typical if value is None else value),)
