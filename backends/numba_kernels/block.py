"""A whole encoder block, forward and backward, by a team of threads: BLAS's products, compiled loops between.

Kept for the way back: both normalised inputs, q, k and v, the attention's output, and what enters the GELU;
attention weights, GELU and its derivative are made again. A warm step allocates nothing but what it returns.
"""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import block_backward, block_forward
from vitref.backends.numba_kernels.parameters import Kept, Parameters, Shape
from vitref.backends.numba_kernels.rows import unsupported, workspace
from vitref.backends.numba_kernels.shares import shares
from vitref.backends.numba_kernels.team import Team
from vitref.graph.mlp import FORMS

PARAMS = (
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "ls1.gamma",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
    "ls2.gamma",
)
HIDES = ("norm1", "attn", "ls1", "drop_path1", "add1", "norm2", "mlp", "ls2", "drop_path2", "add2")
ADDS = False


class Saved(NamedTuple):
    kept: Kept
    parameters: Parameters
    shape: Shape


def absent(*, qkv_bias: bool, scaled: bool, **static: Any) -> tuple[str, ...]:
    """The parameters that this model does not have."""
    return (() if qkv_bias else ("attn.qkv.bias",)) + (() if scaled else ("ls1.gamma", "ls2.gamma"))


def refuses(x: Array, *, activation: str, **static: Any) -> str | None:
    if static["rate"] or static["attention_rate"] or static["path_rate"]:
        return "dropout or DropPath"
    if activation not in FORMS:
        return f"activation {activation!r}"
    return unsupported(x)


def forward(
    x: Array,
    *parameters: Array | None,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    scaled: bool,
    rate: float,
    attention_rate: float,
    path_rate: float,
    team: Team,
    together: int | None = None,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    p = Parameters(*(None if a is None else np.ascontiguousarray(a) for a in parameters))
    shape = Shape.of(x, p, heads, eps, FORMS[activation])
    plan = shares(team, shape.batch, shape.tokens, together)
    y, given = np.empty(x.shape, x.dtype), workspace(ws)
    kept = Kept.allocate(given.empty, shape) if keep else None
    block_forward.run(team, plan, np.ascontiguousarray(x), y, p, shape, kept, given)
    return y, None if kept is None else Saved(kept, p, shape)


def backward(
    dy: Array, saved: Saved, *, team: Team, together: int | None = None, xp: Namespace, ws: Any = None
) -> tuple[Array | None, ...]:
    kept, p, shape = saved
    given = workspace(ws)
    if ws is None:
        kept = kept._replace(u=kept.u.copy())
    plan = shares(team, shape.batch, shape.tokens, together)
    dx = np.empty(dy.shape, dy.dtype)
    grads = Parameters(
        *(
            None if a is None else given.out(name, a.shape, dy.dtype)
            for name, a in zip(PARAMS, p, strict=True)
        )
    )
    block_backward.run(team, plan, np.ascontiguousarray(dy), dx, p, grads, shape, kept, given)
    return (dx, *grads)
