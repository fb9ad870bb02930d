"""Softmax over the last axis: each row stays in the cache until it is done."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.rows import copied, rows, share_out, unsupported
from vitref.backends.numba_kernels.team import Team

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    y: Array


def refuses(x: Array, *, team: Team) -> str | None:
    if x.ndim == 0 or x.shape[-1] == 0:
        return "no row has an element"
    return unsupported(x)


def forward(
    x: Array, *, team: Team, xp: Namespace, ws: Any = None, keep: bool = True
) -> tuple[Array, Saved | None]:
    y = copied(x)
    flat = rows(y)
    share_out(team, flat, lambda _, part: loops.softmax(flat[part]))
    return y, Saved(y) if keep else None


def backward(dy: Array, saved: Saved, *, team: Team, xp: Namespace, ws: Any = None) -> tuple[Array]:
    dx = copied(dy)
    flat, y = rows(dx), rows(saved.y)
    share_out(team, flat, lambda _, part: loops.softmax_backward(flat[part], y[part]))
    return (dx,)
