"""One AdamW step of one parameter: the rule of `vitref.training.adamw`, in one pass over the memory."""

import numpy as np

from vitref.array import Array
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.rows import copied, share_out
from vitref.backends.numba_kernels.team import Team


def adamw(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    team: Team,
) -> tuple[Array, Array, Array]:
    """New p, m and v; nothing given is changed.

    p, g, m, v  of one shape and dtype, float32 or float64
    step        t of the rule: 1 for the first step
    decay       0 where it does not count for this parameter
    """
    new, mean, square, gradient = copied(p), copied(m), copied(v), np.ascontiguousarray(g)
    flat = [x.reshape(-1) for x in (new, gradient, mean, square)]
    settings = (rate, *betas, eps, decay, *(1 / (1 - beta**step) for beta in betas))
    share_out(team, flat[0], lambda _, part: loops.adamw(*(x[part] for x in flat), *settings))
    return new, mean, square
