"""The attention core on its own, where q, k and v come from elsewhere than a block's product.

As in `heads.py`: blocks of queries meet all keys of their head, attention weights are not kept but made again
on the way back, and memory is linear in the number of tokens.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.heads import (
    add_product,
    blocks,
    buffer_size,
    flat,
    shaped,
    turned,
    weights,
)
from vitref.backends.numba_kernels.rows import unsupported, workspace
from vitref.backends.numba_kernels.team import Team
from vitref.components.scores import scale

PARAMS: tuple[str, ...] = ()
HIDES = ("scores", "softmax", "attn_drop", "context")
ADDS = False
YIELDS = False


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
    y, tokens = _merged(q), q.shape[2]
    buffers = workspace(ws).scratch("scores", (team.threads, buffer_size(tokens)), q.dtype)

    def work(i: int) -> None:
        for own, queries in _blocks(team, i, q.shape):
            p = weights(turned(q[own][:, queries]), turned(k[own]), buffers[i])
            np.matmul(p, v[own], out=y[own][:, queries])

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

    def work(i: int) -> None:
        for own, queries in _blocks(team, i, q.shape):
            more = sums[i] if queries.start else None
            some, do = q[own][:, queries], dy[own][:, queries]
            p = weights(turned(some), turned(k[own]), scores[i, 0])
            ds = shaped(scores[i, 1], p.shape)
            np.matmul(do, turned(v[own]), out=ds)
            add_product(turned(p), do, dv[own], more)
            loops.softmax_backward(flat(ds), flat(p), scale(q))
            np.matmul(ds, k[own], out=dq[own][:, queries])
            add_product(turned(ds), some, dk[own], more)

    team.run(work)
    return dq, dk, dv


def _blocks(team: Team, i: int, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, slice], slice]]:
    """((image, heads), queries) of thread i: its part of all heads of all images, one after the other."""
    n, heads, tokens, _ = shape
    part = team.split(n * heads)[i]
    for image in range(part.start // heads, -(-part.stop // heads)):
        first, last = max(0, part.start - image * heads), min(heads, part.stop - image * heads)
        for _, some, queries in blocks(1, tokens, slice(first, last)):
            yield (image, some), queries


def _merged(like: Array) -> Array:
    """An array (N, heads, T, d) with the memory of (N, T, heads, d): merging the heads then moves nothing."""
    n, heads, tokens, width = like.shape
    return np.empty((n, tokens, heads, width), like.dtype).transpose(0, 2, 1, 3)
