"""The attention core on its own, as in `heads.py`: where q, k and v come from elsewhere than a block."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels.heads import attend, attend_backward, buffer_size, turned
from vitref.backends.numba_kernels.rows import unsupported, workspace
from vitref.backends.numba_kernels.team import Team

PARAMS: tuple[str, ...] = ()
HIDES = ("scores", "softmax", "attn_drop", "context")
ADDS = False


class Saved(NamedTuple):
    """The inputs, (N, heads, T, d); nothing of size T x T."""

    q: Array
    k: Array
    v: Array


def refuses(q: Array, k: Array, v: Array, *, rate: float, team: Team) -> str | None:
    if rate:
        return "dropout of attention weights"
    if q.ndim != 4 or not q.shape == k.shape == v.shape:
        return f"shapes {q.shape}, {k.shape}, {v.shape}"
    return unsupported(q, k, v)


def forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    rate: float,
    team: Team,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    y = _merged(q)
    buffers = workspace(ws).scratch("scores", (team.threads, buffer_size(q.shape[2])), q.dtype)
    arrays = [turned(a) for a in (q, k, v, y)]

    def work(i: int) -> None:
        for image, part in _heads(team, i, q.shape):
            attend(part, buffers[i], *(a[image] for a in arrays))

    team.run(work)
    return y, Saved(q, k, v) if keep else None


def backward(
    dy: Array, saved: Saved, *, team: Team, xp: Namespace, ws: Any = None
) -> tuple[Array, Array, Array]:
    q, k, v = saved
    dq, dk, dv = _merged(q), _merged(q), _merged(q)
    tokens, width = q.shape[2:]
    given = workspace(ws)
    scores = given.scratch("scores and their cotangent", (team.threads, 2, buffer_size(tokens)), q.dtype)
    sums = given.scratch("sums", (team.threads, tokens * width), q.dtype)
    arrays = [turned(a) for a in (dy, q, k, v, dq, dk, dv)]

    def work(i: int) -> None:
        for image, part in _heads(team, i, q.shape):
            attend_backward(part, scores[i], sums[i], *(a[image] for a in arrays))

    team.run(work)
    return dq, dk, dv


def _heads(team: Team, i: int, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """(one image, some of its heads) of thread i: its part of all heads of all images."""
    n, heads = shape[:2]
    part = team.split(n * heads)[i]
    for image in range(part.start // heads, -(-part.stop // heads)):
        first = image * heads
        yield slice(image, image + 1), slice(max(0, part.start - first), min(heads, part.stop - first))


def _merged(like: Array) -> Array:
    """An array (N, heads, T, d) with the memory of (N, T, heads, d): merging the heads then moves nothing."""
    n, heads, tokens, width = like.shape
    return np.empty((n, tokens, heads, width), like.dtype).transpose(0, 2, 1, 3)
