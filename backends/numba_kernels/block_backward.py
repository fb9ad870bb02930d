"""The backward pass of a block: first the cotangents, share by share, then the gradients of the weights.

A gradient of a weight is a sum over all rows of the batch: each thread makes some of its rows, over the
whole batch. Sums of LayerNorm's and LayerScale's gradients are made by each thread over its rows, and added.
"""

from typing import NamedTuple

import numpy as np

from vitref.array import Array
from vitref.backends.numba_kernels import heads, loops
from vitref.backends.numba_kernels.parameters import Kept, Parameters, Shape
from vitref.backends.numba_kernels.products import contract, padded, weight_gradients
from vitref.backends.numba_kernels.shares import Plan, Share, synchronise
from vitref.backends.numba_kernels.team import Team
from vitref.backends.workspace import Scratch


class Buffers(NamedTuple):
    """Cotangents, and inputs of products made again; all threads fill their rows or columns.

    dm, dz      (rows, width), of the outputs of fc2 and proj; dm is dy, and dz is dx1, without LayerScale
    dm_turned   (width, padded rows), dm transposed
    du          (hidden, rows), of what enters the GELU
    da          (rows, width), of a LayerNorm's output
    dx1         (rows, width), of what lies between attention and MLP
    do          (rows, inner), of the attention's output
    dqkv        (3 inner, rows)
    a1, a2      (rows, width), the LayerNorms' outputs
    """

    dm: Array
    dm_turned: Array
    du: Array
    da: Array
    dx1: Array
    dz: Array
    do: Array
    dqkv: Array
    a1: Array
    a2: Array


class Parts(NamedTuple):
    """One thread's parts of gradients that are sums over rows, (width,) each."""

    norm1_weight: Array
    norm1_bias: Array
    norm2_weight: Array
    norm2_bias: Array
    gamma1: Array
    gamma2: Array


class Own(NamedTuple):
    """Of one thread: two blocks of scores, one sum over blocks, its parts of gradients."""

    scores: Array
    sums: Array
    parts: Parts


def run(
    team: Team,
    plan: Plan,
    dy: Array,
    dx: Array,
    p: Parameters,
    grads: Parameters,
    shape: Shape,
    kept: Kept,
    given: Scratch,
) -> None:
    """dx and `grads` are filled; kept.u becomes the GELU's output."""
    dy, dx = dy.reshape(shape.rows, shape.width), dx.reshape(shape.rows, shape.width)
    buffers, own = allocate(given, dy, shape), allocate_own(given, team, shape)
    n = shape.rows
    products = (
        (buffers.dm_turned[:, :n], kept.u.T, grads.fc2_weight, grads.fc2_bias),
        (buffers.du, buffers.a2, grads.fc1_weight, grads.fc1_bias),
        (buffers.dz.T, kept.o, grads.proj_weight, grads.proj_bias),
        (buffers.dqkv, buffers.a1, grads.qkv_weight, grads.qkv_bias),
    )

    def work(i: int) -> None:
        for part in own[i].parts:
            part[...] = 0
        for share in plan[i]:
            mlp(team, share, dy, p, shape, kept, buffers, own[i])
            attention(team, share, dx, p, shape, kept, buffers, own[i])
        team.barrier()
        weight_gradients(team, i, products)

    team.run(work)
    for name, total in zip(Parts._fields, np.sum([o.parts for o in own], axis=0), strict=True):
        gradient = getattr(grads, name)
        if gradient is not None:
            gradient[...] = total


def allocate(given: Scratch, dy: Array, shape: Shape) -> Buffers:
    def scratch(role: str, *size: int) -> Array:
        return given.scratch(f"backward {role}", size, shape.dtype)

    rows, width, inner, hidden = shape.rows, shape.width, shape.inner, shape.hidden
    dx1 = scratch("dx1", rows, width)
    return Buffers(
        dm=scratch("dm", rows, width) if shape.scaled else dy,
        dm_turned=scratch("dm turned", width, padded(rows)),
        du=scratch("du", hidden, rows),
        da=scratch("da", rows, width),
        dx1=dx1,
        dz=scratch("dz", rows, width) if shape.scaled else dx1,
        do=scratch("do", rows, inner),
        dqkv=scratch("dqkv", 3 * inner, rows),
        a1=scratch("a1", rows, width),
        a2=scratch("a2", rows, width),
    )


def allocate_own(given: Scratch, team: Team, shape: Shape) -> list[Own]:
    sizes = (
        (team.threads, 2, heads.buffer_size(shape.tokens)),
        (team.threads, shape.tokens * shape.inner // shape.heads),
        (team.threads, len(Parts._fields), shape.width),
    )
    arrays = [
        given.scratch(f"backward {role}", size, shape.dtype)
        for role, size in zip(Own._fields, sizes, strict=True)
    ]
    return [Own(scores, sums, Parts(*parts)) for scores, sums, parts in zip(*arrays, strict=True)]


def mlp(
    team: Team, share: Share, dy: Array, p: Parameters, shape: Shape, k: Kept, b: Buffers, own: Own
) -> None:
    """dx1 <- dy + the cotangent through norm2, fc1, GELU and fc2."""
    rows, mine, columns = share.rows(shape.tokens), share.own_rows(shape.tokens), share.columns(shape.width)
    scaled(dy[mine], k.branch2, p.gamma2, b.dm, own.parts.gamma2, mine)
    loops.transpose(b.dm[mine], b.dm_turned, mine.start)
    synchronise(team, share)
    contract(share, rows, b.dm_turned, p.fc2_weight, p.fc1_bias, shape.form, k.u, b.du)
    synchronise(team, share)
    np.matmul(b.du[:, rows].T, p.fc1_weight[:, columns], out=b.da[rows, columns])
    synchronise(team, share)
    normalise(
        mine, b.da, k.xhat2, k.r2, p.norm2_weight, dy, b.dx1, own.parts.norm2_weight, own.parts.norm2_bias
    )
    loops.scale_shift(k.xhat2[mine], p.norm2_weight, p.norm2_bias, b.a2[mine])
    loops.scale_shift(k.xhat1[mine], p.norm1_weight, p.norm1_bias, b.a1[mine])
    scaled(b.dx1[mine], k.branch1, p.gamma1, b.dz, own.parts.gamma1, mine)
    synchronise(team, share)


def attention(
    team: Team, share: Share, dx: Array, p: Parameters, shape: Shape, k: Kept, b: Buffers, own: Own
) -> None:
    """dx <- dx1 + the cotangent through norm1, qkv, attention and proj."""
    rows, mine, columns = share.rows(shape.tokens), share.own_rows(shape.tokens), share.columns(shape.width)
    part, each = share.columns(shape.heads), shape.inner // shape.heads
    inner = slice(part.start * each, part.stop * each)
    np.matmul(b.dz[rows], p.proj_weight[:, inner], out=b.do[rows, inner])
    heads.backward(
        b.do[rows],
        k.qkv[:, rows],
        b.dqkv[:, rows],
        shape.tokens,
        shape.heads,
        part,
        own.scores,
        own.sums,
    )
    synchronise(team, share)
    np.matmul(b.dqkv[:, rows].T, p.qkv_weight[:, columns], out=b.da[rows, columns])
    synchronise(team, share)
    normalise(
        mine, b.da, k.xhat1, k.r1, p.norm1_weight, b.dx1, dx, own.parts.norm1_weight, own.parts.norm1_bias
    )


def scaled(
    dy: Array, branch: Array | None, gamma: Array | None, dx: Array, dgamma: Array, mine: slice
) -> None:
    """Back through LayerScale in these rows, where there is one: dx <- gamma * dy."""
    if branch is not None and gamma is not None:
        loops.layer_scale_backward(dy, branch[mine], gamma, dx[mine], dgamma)


def normalise(
    mine: slice,
    dy: Array,
    xhat: Array,
    r: Array,
    weight: Array,
    add: Array,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Back through LayerNorm in these rows, and the other branch's cotangent added."""
    loops.layer_norm_backward(dy[mine], xhat[mine], r[mine], weight, add[mine], dx[mine], dweight, dbias)
