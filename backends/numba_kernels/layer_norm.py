"""LayerNorm row by row: one visit to a row, the residual's cotangent included."""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace, require_shape
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.rows import rows, share_out, unsupported, workspace
from vitref.backends.numba_kernels.team import Team

PARAMS = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = True


class Saved(NamedTuple):
    """As (rows, C), (rows,) and (C,)."""

    xhat: Array
    r: Array
    weight: Array


def refuses(x: Array, *, eps: float, team: Team) -> str | None:
    return unsupported(x)


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    eps: float,
    team: Team,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    require_shape("weight", weight, (x.shape[-1],))
    require_shape("bias", bias, (x.shape[-1],))
    flat, weight, bias = rows(x), np.ascontiguousarray(weight), np.ascontiguousarray(bias)
    y = np.empty(flat.shape, flat.dtype)
    saved = None
    if keep:
        given = workspace(ws)
        xhat = given.empty("xhat", flat.shape, flat.dtype)
        saved = Saved(xhat, given.empty("r", flat.shape[:1], flat.dtype), weight)

    def work(_: int, part: slice) -> None:
        kept = (saved.xhat[part], saved.r[part]) if saved else (None, None)
        loops.layer_norm(flat[part], weight, bias, eps, y[part], *kept)

    share_out(team, flat, work)
    return y.reshape(x.shape), saved


def backward(
    dy: Array, saved: Saved, *, team: Team, xp: Namespace, ws: Any = None, add: Array | None = None
) -> tuple[Array, Array, Array]:
    xhat, r, weight = saved
    flat, more, given = rows(dy), None if add is None else rows(add), workspace(ws)
    dx = np.empty(flat.shape, flat.dtype)
    shape = (team.threads, flat.shape[1])
    dweights = given.scratch("dweight", shape, flat.dtype)
    dbiases = given.scratch("dbias", shape, flat.dtype)
    dweights[...] = dbiases[...] = 0

    def work(i: int, part: slice) -> None:
        further = None if more is None else more[part]
        ends = (dx[part], dweights[i], dbiases[i])
        loops.layer_norm_backward(flat[part], xhat[part], r[part], weight, further, *ends)

    share_out(team, flat, work)
    dweight = np.sum(dweights, axis=0, out=given.out("weight", weight.shape, flat.dtype))
    dbias = np.sum(dbiases, axis=0, out=given.out("bias", weight.shape, flat.dtype))
    return dx.reshape(dy.shape), dweight, dbias
