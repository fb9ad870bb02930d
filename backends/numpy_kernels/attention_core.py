"""The attention core of a long sequence in blocks of queries: memory linear in the number of tokens.

The reference forms (N, heads, T, T) matrices. Here a block of rows of one head's queries meets all its
keys, so that every softmax sees its whole row and nothing needs rescaling. The arithmetic is that of the
components `scores`, `softmax` and `context`, block by block; the attention weights of a block are
forgotten, and made again on the way back. Source: Rabe and Staats 2021, arXiv:2112.05682.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.components import context, scores, softmax

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ("scores", "softmax", "attn_drop", "context")
ADDS = False
YIELDS = True

SHORT = 512
"""Up to this many keys the reference is as fast, and its matrices are small."""

BLOCK = 2**18
"""Scores in a block: 1 MiB in float32, which the cache of one core holds."""


class Saved(NamedTuple):
    """The inputs, (N, heads, T, d); nothing of size T x T."""

    q: Array
    k: Array
    v: Array


def refuses(q: Array, k: Array, v: Array, *, rate: float) -> str | None:
    if rate:
        return "dropout of attention weights"
    if k.shape[-2] <= SHORT:
        return f"{k.shape[-2]} keys; up to {SHORT} the reference is as good"
    return None


def forward(
    q: Array, k: Array, v: Array, *, rate: float, xp: Namespace, ws: Any = None, keep: bool = True
) -> tuple[Array, Saved | None]:
    y = np.empty(q.shape, q.dtype)
    for head, block in _blocks(q, k):
        weights, _ = softmax.forward(scores.forward(q[block], k[head], xp=xp)[0], xp=xp)
        y[block], _ = context.forward(weights, v[head], xp=xp)
    return y, Saved(q, k, v) if keep else None


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None) -> tuple[Array, Array, Array]:
    q, k, v = saved
    dq, dk, dv = np.empty(q.shape, q.dtype), np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype)
    for head, block in _blocks(q, k):
        s, of_scores = scores.forward(q[block], k[head], xp=xp)
        weights, of_softmax = softmax.forward(s, xp=xp)
        dweights, dv_part = context.backward(dy[block], context.Saved(weights, v[head]), xp=xp)
        (ds,) = softmax.backward(dweights, of_softmax, xp=xp)
        dq[block], dk_part = scores.backward(ds, of_scores, xp=xp)
        dk[head] += dk_part
        dv[head] += dv_part
    return dq, dk, dv


def _blocks(q: Array, k: Array) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """(image, head), and the same with a slice of queries, so that all queries of all heads are met."""
    rows = max(1, BLOCK // k.shape[-2])
    for head in np.ndindex(*q.shape[:-2]):
        for start in range(0, q.shape[-2], rows):
            yield head, (*head, slice(start, start + rows))
