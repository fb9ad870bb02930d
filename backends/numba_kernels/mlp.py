"""An MLP, forward and backward, by a team of threads: for blocks that are not `block`, or that drop paths.

Kept for the way back: the input, and what enters the GELU; GELU and its derivative are made again.
"""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.products import (
    PADDING,
    add_branch,
    contract,
    expand,
    padded,
    weight_gradients,
)
from vitref.backends.numba_kernels.rows import unsupported, workspace
from vitref.backends.numba_kernels.shares import Plan, in_columns, largest, shares, synchronise
from vitref.backends.numba_kernels.team import Team
from vitref.backends.workspace import Scratch
from vitref.graph.mlp import FORMS

PARAMS = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
HIDES = ("fc1", "act", "drop1", "fc2", "drop2")
ADDS = False


class Saved(NamedTuple):
    """x (N, T, D), u (hidden, N T), which is fc1's product without its bias, and the parameters."""

    x: Array
    u: Array
    parameters: tuple[Array, ...]
    form: str


def refuses(x: Array, *, activation: str, rate: float, team: Team, together: int | None = None) -> str | None:
    if rate:
        return "dropout"
    if x.ndim != 3:
        return f"shape {x.shape}"
    return unsupported(x) if activation in FORMS else f"activation {activation!r}"


def forward(
    x: Array,
    *parameters: Array,
    activation: str,
    rate: float,
    team: Team,
    together: int | None = None,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    given, x = workspace(ws), np.ascontiguousarray(x)
    batch, tokens, width = x.shape
    fc1_weight, fc1_bias, fc2_weight, fc2_bias = p = tuple(np.ascontiguousarray(a) for a in parameters)
    plan, hidden = shares(team, batch, tokens, together), len(fc1_bias)
    u = given.empty("u", (hidden, batch * tokens), x.dtype) if keep else None
    y = np.empty(x.shape, x.dtype)
    rows, out = x.reshape(-1, width), y.reshape(-1, width)
    buffers = _buffers(given, plan, tokens, width, hidden, x.dtype)

    def work(i: int) -> None:
        z, pool = buffers[i]
        for share in plan[i]:
            place = share.rows(tokens)
            n = place.stop - place.start
            m = pool[: hidden * n].reshape(hidden, n)
            target = (m, None, slice(0, n)) if u is None else (u, m, place)
            expand(share, rows[place], fc1_weight, fc1_bias, FORMS[activation], *target)
            synchronise(team, share)
            add_branch(share, m, fc2_weight, fc2_bias, None, None, None, out[place], z)
            synchronise(team, share)

    team.run(work)
    return y, None if u is None else Saved(x, u, p, FORMS[activation])


def backward(
    dy: Array, saved: Saved, *, team: Team, together: int | None = None, xp: Namespace, ws: Any = None
) -> tuple[Array, ...]:
    x, u, (fc1_weight, fc1_bias, fc2_weight, fc2_bias), form = saved
    given, dtype, (batch, tokens, width) = workspace(ws), x.dtype, x.shape
    u = u.copy() if ws is None else u
    plan, n = shares(team, batch, tokens, together), batch * tokens
    turned, du = (
        given.scratch("backward dy turned", (width, padded(n)), dtype),
        given.scratch("backward du", u.shape, dtype),
    )
    grads = [given.out(name, a.shape, dtype) for name, a in zip(PARAMS, saved.parameters, strict=True)]
    dx, rows = np.empty(x.shape, dtype), np.ascontiguousarray(dy).reshape(n, width)
    out = dx.reshape(n, width)
    products = ((turned[:, :n], u.T, *grads[2:]), (du, x.reshape(n, width), *grads[:2]))

    def work(i: int) -> None:
        for share in plan[i]:
            place, mine, columns = share.rows(tokens), share.own_rows(tokens), share.columns(width)
            loops.transpose(rows[mine], turned, mine.start)
            synchronise(team, share)
            contract(share, place, turned, fc2_weight, fc1_bias, form, u, du)
            synchronise(team, share)
            np.matmul(du[:, place].T, fc1_weight[:, columns], out=out[place, columns])
        team.barrier()
        weight_gradients(team, i, products)

    team.run(work)
    return (dx, *grads)


def _buffers(
    given: Scratch, plan: Plan, tokens: int, width: int, hidden: int, dtype: Any
) -> list[tuple[Array, Array]]:
    """For each thread one for a product, its own, and one for the GELU's output, of all who share images."""
    rows = [largest(mine) * tokens for mine in plan]
    pools = [
        given.scratch(f"pool {i}", (n * hidden,), dtype)
        for i, n in enumerate(rows[:1] if in_columns(plan) else rows)
    ]
    return [
        (given.scratch(f"product {i}", ((n + PADDING) * width,), dtype), pools[i % len(pools)])
        for i, n in enumerate(rows)
    ]
