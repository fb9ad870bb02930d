"""One case, made of numbers: from what was drawn to arguments, cotangent and expected output."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.run import Part
from vitref.testing.cases import SPECS
from vitref.testing.shapes import Arguments, Made, Static
from vitref.testing.sizes import Sizes, sizes
from vitref.testing.structure import apply, arrays
from vitref.testing.tolerance import tolerance
from vitref.testing.values import FLOATING, Random, draw

LARGEST = {"float16": 65504.0}
"""The largest number of a dtype that usual numbers exceed."""

MARGIN = 8
"""Checks multiply cotangents and add results."""


@dataclass(frozen=True)
class Case:
    """What was drawn; enough to make every number of it again."""

    component: str
    arguments: Arguments
    regime: str
    layout: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class Problem:
    """A case for one component: host arrays in the case's dtype, and the answers in float64.

    args     one array (or None) for each differentiable argument, parameters last
    dy       a random cotangent, in the structure of y; of a loss at least float32, as are its labels
    expected y by the component's oracle
    """

    case: Case
    reference: Part
    args: tuple[HostArray | None, ...]
    static: Static
    dy: Any
    expected: Any

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.case.arguments.shapes)

    @property
    def inputs(self) -> int:
        """How many of the arguments are inputs; the others are parameters."""
        return len(self.names) - len(self.reference.PARAMS)

    def exact(self, values: Any) -> Any:
        """The same numbers in float64; integers as they are."""
        return apply(lambda x: x.astype(np.float64) if x.dtype.kind in FLOATING else x, values)

    @property
    def dy_dtype(self) -> str:
        return _wide(self.case)

    def in_range(self) -> bool:
        """Whether the dtype can hold the results, and a few times as much."""
        if self.case.dtype not in LARGEST:
            return True
        return MARGIN * max(float(size) for size in arrays(self.sizes)) <= LARGEST[self.case.dtype]

    def tolerance(self) -> float:
        """Relative to `sizes`: no sum in a component has more terms than its largest array."""
        return tolerance(self.case.dtype, max(np.size(x) for x in arrays((self.args, self.dy))))

    @cached_property
    def sizes(self) -> Sizes:
        return self.sizes_of(self.dy)

    def sizes_of(self, dy: Any) -> Sizes:
        """Of the terms behind y and the gradients, for this cotangent."""
        args, dy, static = self.exact(self.args), self.exact(dy), self.exact(self.static)
        found = sizes(self.reference, args, dy, static, self.rng("sizes"))
        absolute = SPECS[self.case.component].absolute
        if absolute is None:
            return found
        y, grads = absolute(args, dy, static)
        return Sizes(found.y + y, tuple(a + b for a, b in zip(found.grads, grads, strict=True)))

    def rng(self, purpose: str) -> Random:
        return generator(self.case, purpose)


def generator(case: Case, purpose: str) -> Random:
    """Random numbers that depend on the case's seed and on what they are for."""
    return np.random.default_rng([case.seed, *purpose.encode()])


def problem(case: Case, reference: Part) -> Problem:
    args, static = numbers(case, case.arguments, len(reference.PARAMS))
    exact = apply(lambda x: x.astype(np.float64) if x.dtype.kind in FLOATING else x, (args, static))
    expected = SPECS[case.component].oracle(*exact[0], **exact[1])
    rng = generator(case, "dy")
    dy = apply(lambda y: draw(y.shape, "plain", rng, _wide(case)), expected)
    return Problem(case, reference, args, static, dy, expected)


def numbers(case: Case, arguments: Arguments, parameters: int) -> tuple[tuple[HostArray | None, ...], Static]:
    """Arrays for these shapes and static arguments; the last `parameters` of them in the plain regime."""
    rng, inputs = generator(case, "arguments"), len(arguments.shapes) - parameters
    args = tuple(
        None if shape is None else draw(shape, case.regime if place < inputs else "plain", rng, case.dtype)
        for place, shape in enumerate(arguments.shapes.values())
    )
    static = {
        name: value.values(rng, _wide(case)) if isinstance(value, Made) else value
        for name, value in arguments.static.items()
    }
    return args, static


def _wide(case: Case) -> str:
    """The dtype of a cotangent and of static arrays; of a loss and its labels, float32 in a 16-bit pass."""
    narrow = case.dtype in ("float16", "bfloat16")
    return "float32" if narrow and "labels" in case.arguments.static else case.dtype
