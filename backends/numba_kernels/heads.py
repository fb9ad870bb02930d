"""Attention of some heads by one thread, between the qkv product and proj.

In a block, qkv is transposed, (3 heads d, rows) with rows = images * tokens, as the product makes it fastest;
the result is (rows, heads d). Both are seen head by head without a copy. A block of queries meets all keys
of its head, so that every softmax sees its whole row; several heads of a short sequence make one block.
Attention weights are not kept: the way back makes them again, so that memory is linear in the number of
tokens. Source: Rabe and Staats 2021, arXiv:2112.05682.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vitref.array import Array
from vitref.backends.numba_kernels import loops
from vitref.components.scores import scale

BLOCK = 2**17
"""Scores in a block: half a MiB in float32; two of them fit into the cache of one core."""


def forward(qkv: Array, y: Array, tokens: int, heads: int, part: slice, buffer: Array) -> None:
    """y (rows, heads d) <- attention of these rows, in the columns of the heads in `part`.

    buffer   1-D, of `buffer_size(tokens)`
    """
    q, k, v = split(qkv, 3, tokens, heads)
    (merged,) = split(y.T, 1, tokens, heads)
    attend(part, buffer, q, k, v, merged)


def backward(
    dy: Array, qkv: Array, dqkv: Array, tokens: int, heads: int, part: slice, buffers: Array, sums: Array
) -> None:
    """dqkv (as qkv) <- its cotangent, from dy (rows, heads d), in the rows of the heads in `part`.

    buffers  (2, `buffer_size(tokens)`)
    sums     1-D, of d * tokens
    """
    q, k, v = split(qkv, 3, tokens, heads)
    dq, dk, dv = split(dqkv, 3, tokens, heads)
    (do,) = split(dy.T, 1, tokens, heads)
    attend_backward(part, buffers, sums, do, q, k, v, dq, dk, dv)


def attend(part: slice, buffer: Array, q: Array, k: Array, v: Array, y: Array) -> None:
    """`forward` of arrays (images, heads, d, tokens) of any layout."""
    for image, some, queries in blocks(len(q), q.shape[-1], part):
        p = weights(q[image, some, :, queries], k[image, some], buffer)
        np.matmul(p, turned(v[image, some]), out=turned(y[image, some, :, queries]))


def attend_backward(
    part: slice,
    buffers: Array,
    sums: Array,
    dy: Array,
    q: Array,
    k: Array,
    v: Array,
    dq: Array,
    dk: Array,
    dv: Array,
) -> None:
    """`backward` of arrays (images, heads, d, tokens) of any layout."""
    for image, some, queries in blocks(len(q), q.shape[-1], part):
        own, mine = (image, some), (image, some, slice(None), queries)
        more = sums if queries.start else None
        p = weights(q[mine], k[own], buffers[0])
        ds = shaped(buffers[1], p.shape)
        np.matmul(turned(dy[mine]), v[own], out=ds)
        add_product(dy[mine], p, dv[own], more)
        loops.softmax_backward(flat(ds), flat(p), scale(turned(q)))
        np.matmul(k[own], turned(ds), out=dq[mine])
        add_product(q[mine], ds, dk[own], more)


def weights(q: Array, k: Array, buffer: Array) -> Array:
    """softmax(q^T k / sqrt d), (heads, queries, keys), in the buffer."""
    s = shaped(buffer, (len(q), q.shape[-1], k.shape[-1]))
    np.matmul(turned(q), k, out=s)
    loops.softmax(flat(s), scale(turned(q)))
    return s


def add_product(a: Array, b: Array, total: Array, buffer: Array | None) -> None:
    """total <- a b; with a buffer, total <- total + a b: the blocks of queries after the first.

    The buffer takes the memory order of `total`, which is faster.
    """
    if buffer is None:
        np.matmul(a, b, out=total)
    elif total.strides[-1] <= total.strides[-2]:
        total += np.matmul(a, b, out=shaped(buffer, total.shape))
    else:
        total += np.matmul(a, b, out=turned(shaped(buffer, turned(total).shape)))


def blocks(images: int, tokens: int, part: slice) -> Iterator[tuple[int, slice, slice]]:
    """(image, heads, queries), the queries of one head in order."""
    together, rows = block_size(tokens)
    for image in range(images):
        for head in range(part.start, part.stop, together):
            for query in range(0, tokens, rows):
                yield image, slice(head, min(head + together, part.stop)), slice(query, query + rows)


def block_size(tokens: int) -> tuple[int, int]:
    """Heads and queries in a block: several heads of a short sequence, or some rows of a long one."""
    rows = max(1, min(tokens, BLOCK // tokens))
    return (max(1, BLOCK // tokens**2) if rows == tokens else 1), rows


def buffer_size(tokens: int) -> int:
    together, rows = block_size(tokens)
    return together * rows * tokens


def split(x: Array, parts: int, tokens: int, heads: int) -> Any:
    """(parts heads d, rows) as (parts, images, heads, d, tokens), a view."""
    return x.reshape(parts, heads, len(x) // (parts * heads), -1, tokens).transpose(0, 3, 1, 2, 4)


def turned(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def shaped(buffer: Array, shape: tuple[int, ...]) -> Array:
    size = 1
    for n in shape:
        size *= n
    return buffer[:size].reshape(shape)


def flat(s: Array) -> Array:
    return s.reshape(-1, s.shape[-1])
