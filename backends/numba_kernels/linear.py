"""Linear layer: products by single-threaded BLAS, one part for each thread.

Forward and dx are dealt out by rows, or by columns where there are fewer rows than `FEW` a thread; dweight
by its own rows, so that every thread writes a part of the gradient and no sums are put together. With
`together` the rows of so many images make one product each: with 1, no image's result depends on the
others, whichever way BLAS takes for how many rows.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace, require_shape
from vitref.backends.numba_kernels.rows import rows, unsupported, workspace
from vitref.backends.numba_kernels.team import Team

PARAMS = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = False

FEW = 16
"""Rows of a product below which BLAS is far from its speed."""

SMALL = 2**18
"""Multiplications: waking a team costs more than one thread needs for so few."""


Work = Callable[[slice, slice], None]


class Saved(NamedTuple):
    """x as (rows, I); `group` rows make one product, all of them where it is 0."""

    x: Array
    weight: Array
    biased: bool
    group: int


def refuses(x: Array, *, team: Team, together: int | None = None) -> str | None:
    return unsupported(x)


def forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    team: Team,
    together: int | None = None,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    require_shape("weight", weight, (weight.shape[0], x.shape[-1]))
    if bias is not None:
        require_shape("bias", bias, weight.shape[:1])
    flat = rows(x)
    y = np.empty((len(flat), len(weight)), x.dtype)

    def product(part: slice, columns: slice) -> None:
        np.matmul(flat[part], weight[columns].T, out=y[part, columns])
        if bias is not None:
            y[part, columns] += bias[columns]

    group = together * math.prod(x.shape[1:-1]) if together else 0
    _deal(team, y.shape, flat.shape[1], product, group)
    saved = Saved(flat, weight, bias is not None, group) if keep else None
    return y.reshape(*x.shape[:-1], len(weight)), saved


def backward(
    dy: Array, saved: Saved, *, team: Team, together: int | None = None, xp: Namespace, ws: Any = None
) -> tuple[Array, Array, Array | None]:
    x, weight, biased, group = saved
    flat, given = rows(dy), workspace(ws)
    dx = np.empty(x.shape, x.dtype)
    dweight = given.out("weight", weight.shape, x.dtype)
    dbias = given.out("bias", weight.shape[:1], x.dtype) if biased else None

    def product(part: slice, columns: slice) -> None:
        np.matmul(flat[part], weight[:, columns], out=dx[part, columns])

    def gradients(part: slice) -> None:
        np.matmul(flat[:, part].T, x, out=dweight[part])
        if dbias is not None:
            np.sum(flat[:, part], axis=0, out=dbias[part])

    _deal(team, dx.shape, flat.shape[1], product, group)
    _share(team, len(weight), team.threads == 1 or weight.size * len(flat) <= SMALL, gradients)
    return dx.reshape(*dy.shape[:-1], x.shape[1]), dweight, dbias


def _deal(team: Team, shape: tuple[int, ...], terms: int, work: Work, group: int) -> None:
    """Call `work(rows, columns)` on the parts of a (rows, columns) result of sums of so many terms."""
    count, width = shape
    alone = team.threads == 1 or count * width * terms <= SMALL
    if group:
        groups = [slice(start, start + group) for start in range(0, count, group)]

        def one_by_one(part: slice) -> None:
            for some in groups[part]:
                work(some, slice(0, width))

        _share(team, len(groups), alone, one_by_one)
    elif alone or count >= FEW * team.threads:
        _share(team, count, alone, lambda part: work(part, slice(0, width)))
    else:
        _share(team, width, alone, lambda part: work(slice(0, count), part))


def _share(team: Team, n: int, alone: bool, work: Callable[[slice], Any]) -> None:
    """Call `work` on n things: on all of them at once here, or on a part in each thread."""
    if alone:
        work(slice(0, n))
    else:
        parts = team.split(n)
        team.run(lambda i: work(parts[i]))
