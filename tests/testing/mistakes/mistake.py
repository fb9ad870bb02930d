"""A mistake: a wrong pair in the place of a component, and the checks that must notice it."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import Array

T = np.matrix_transpose


@dataclass(frozen=True)
class Mistake:
    """`noticed`: every check that must fail. What is not given, forward or backward, stays right."""

    component: Any
    name: str
    noticed: tuple[str, ...]
    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None

    @property
    def part(self) -> SimpleNamespace:
        part = SimpleNamespace(**vars(self.component))
        part.forward = self.forward or part.forward
        part.backward = self.backward or part.backward
        return part


def square(x: Array) -> bool:
    return bool(x.shape[-1] == x.shape[-2])
