"""GELU in its exact and its tanh form; the derivative is made in the same pass and kept for the way back."""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.rows import copied, share_out, unsupported, workspace
from vitref.backends.numba_kernels.team import Team

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    """The derivative, element by element."""

    slope: Array


def refuses(x: Array, *, form: str, team: Team) -> str | None:
    return unsupported(x) if form in loops.GELU else f"form {form!r}"


def forward(
    x: Array, *, form: str, team: Team, xp: Namespace, ws: Any = None, keep: bool = True
) -> tuple[Array, Saved | None]:
    y = copied(x)
    slope = workspace(ws).empty("slope", y.shape, y.dtype) if keep else None
    values = y.reshape(-1)
    slopes = None if slope is None else slope.reshape(-1)

    def work(_: int, part: slice) -> None:
        loops.GELU[form](values[None, part], None, None if slopes is None else slopes[None, part])

    share_out(team, values, work)
    return y, None if slope is None else Saved(slope)


def backward(dy: Array, saved: Saved, *, team: Team, xp: Namespace, ws: Any = None) -> tuple[Array]:
    given, slopes = np.ascontiguousarray(dy).reshape(-1), saved.slope.reshape(-1)
    dx = np.empty(given.shape, given.dtype)
    share_out(team, dx, lambda _, part: np.multiply(given[part], slopes[part], out=dx[part]))
    return (dx.reshape(dy.shape),)
