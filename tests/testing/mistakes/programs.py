"""What is wrong with a program rather than with its formula."""

from itertools import count
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import add, identity


def added_in_place(a: Array, b: Array, *, xp: Any = NUMPY) -> Any:
    if a.ndim:
        a += b
        return a, None
    return a + b, None


def written_into_dy(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    if dy.ndim:
        dy *= 1.5
    return add.Grads(dy, dy)


def broadcast_sum(a: Array, b: Array, *, xp: Any = NUMPY) -> Any:
    return a + b, None


def as_if_contiguous(x: Array, *, xp: Any = NUMPY) -> Any:
    """What a kernel does that is given a pointer and a shape."""
    memory = x if x.base is None else x.base
    return np.reshape(np.ravel(memory, order="K")[: x.size], x.shape), None


def quadratic_in_dy(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    return identity.Grads(dy + dy * dy)


CALLS = count()


def different_each_time(x: Array, *, xp: Any = NUMPY) -> Any:
    return x * (1 + next(CALLS) % 2), None


MISTAKES = [
    Mistake(add, "first argument overwritten", ("pure",), added_in_place),
    Mistake(add, "dy overwritten", ("pure",), backward=written_into_dy),
    Mistake(add, "b broadcast", ("refusals",), broadcast_sum),
    Mistake(
        add,
        "cotangent counted twice",
        ("adjoint", "invariants"),
        backward=lambda dy, saved, *, xp=NUMPY: add.Grads(2 * dy, dy),
    ),
    Mistake(
        add, "branch dropped", ("oracle", "invariants"), forward=lambda a, b, *, xp=NUMPY: (a + 0 * b, None)
    ),
    Mistake(identity, "strides ignored", ("strided",), as_if_contiguous),
    Mistake(identity, "backward not linear", ("linear_in_dy",), backward=quadratic_in_dy),
    Mistake(identity, "different at every call", ("pure",), different_each_time),
    Mistake(
        identity,
        "negated",
        ("oracle", "invariants"),
        lambda x, *, xp=NUMPY: (-x, None),
        lambda dy, saved, *, xp=NUMPY: identity.Grads(-dy),
    ),
]
