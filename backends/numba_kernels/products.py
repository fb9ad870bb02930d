"""Products that belong together with a loop: what blocks and MLPs have in common, for one share.

Activations between two products are transposed, (features, rows): see `block_forward`.
"""

from collections.abc import Iterable

import numpy as np

from vitref.array import Array
from vitref.backends.numba_kernels import loops
from vitref.backends.numba_kernels.shares import Share
from vitref.backends.numba_kernels.team import Team

Product = tuple[Array, Array, Array, Array | None]
"""dy (out, rows), x (rows, in), and where the gradients of weight (out, in) and bias (out,) go."""

PADDING = 16


def padded(rows: int) -> int:
    """A row length for an array that is read across its rows: not a multiple of a page, nor nearly one."""
    return rows + PADDING if rows % 256 < PADDING else rows


def expand(
    share: Share,
    x: Array,
    weight: Array,
    bias: Array,
    form: str,
    u: Array,
    m: Array | None,
    place: slice,
) -> Array:
    """m (hidden, rows) <- gelu(u + bias), u <- weight x^T, in this share's rows of both; m is returned.

    x       (rows, width)
    u       (hidden, at least rows): its columns `place` are written
    m       None: u is overwritten, and returned
    """
    hidden = share.columns(len(weight))
    np.matmul(weight[hidden], x.T, out=u[hidden, place])
    mine = None if m is None else m[hidden]
    loops.GELU[form](u[hidden], bias[hidden], None, mine, place.start, place.stop)
    return u if m is None else m


def contract(
    share: Share,
    rows: slice,
    dy_turned: Array,
    weight: Array,
    bias: Array,
    form: str,
    u: Array,
    du: Array,
) -> None:
    """du (hidden, rows) <- the cotangent of u from that of the second product; u <- gelu(u + bias).

    weight   of the second product, (width, hidden); bias of the first, (hidden,)
    """
    hidden = share.columns(len(bias))
    np.matmul(weight[:, hidden].T, dy_turned[:, rows], out=du[hidden, rows])
    loops.GELU_BACKWARD[form](u[hidden], bias[hidden], du[hidden], rows.start, rows.stop)


def add_branch(
    share: Share,
    inputs: Array,
    weight: Array,
    bias: Array,
    gamma: Array | None,
    branch: Array | None,
    residual: Array | None,
    y: Array,
    buffer: Array,
) -> None:
    """y (rows, width) <- residual + gamma * (weight inputs + bias)^T, in this share's columns.

    inputs   (features, rows)
    branch   is left (weight inputs + bias)^T; residual, gamma and branch may be None
    buffer   1-D, of at least (rows + PADDING) * width
    """
    own, n = share.columns(len(weight)), len(y)
    z = buffer[: (own.stop - own.start) * padded(n)].reshape(-1, padded(n))
    np.matmul(weight[own], inputs, out=z[:, :n])
    loops.add_residual(z, bias, gamma, branch, residual, y, own.start)


def weight_gradients(team: Team, i: int, products: Iterable[Product]) -> None:
    """Thread i's rows of the gradients of weights and biases, over the whole batch."""
    for dy, x, weight, bias in products:
        mine = team.split(len(dy))[i]
        np.matmul(dy[mine], x, out=weight[mine])
        if bias is not None:
            np.sum(dy[mine], axis=1, out=bias[mine])
