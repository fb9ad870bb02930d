"""Softmax cross-entropy: loss and probabilities of a row in one pass over it."""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.rows import rows, share_out, unsupported, workspace
from vitref.backends.numba_kernels.team import Team
from vitref.components.cross_entropy import targets

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    """Probabilities of the model, and labels as probabilities: (N, K)."""

    p: Array
    t: Array


def refuses(x: Array, *, labels: Array, team: Team) -> str | None:
    return unsupported(x, labels) if labels.ndim == 2 else unsupported(x)


def forward(
    x: Array, *, labels: Array, team: Team, xp: Namespace, ws: Any = None, keep: bool = True
) -> tuple[Array, Saved | None]:
    t = rows(targets(x, labels, xp=xp))
    flat, given = rows(x), workspace(ws)
    p = given.empty("p", flat.shape, flat.dtype)
    losses = given.scratch("losses", flat.shape[:1], flat.dtype)
    share_out(team, flat, lambda _, part: loops.cross_entropy(flat[part], t[part], p[part], losses[part]))
    return np.sum(losses) / len(flat), Saved(p, t) if keep else None


def backward(dy: Array, saved: Saved, *, team: Team, xp: Namespace, ws: Any = None) -> tuple[Array]:
    p, t = saved
    dx, scale = np.empty(p.shape, p.dtype), float(dy) / len(p)
    share_out(team, p, lambda _, part: loops.cross_entropy_backward(p[part], t[part], scale, dx[part]))
    return (dx,)
