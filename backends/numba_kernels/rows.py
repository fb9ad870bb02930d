"""What the kernels of single components share: arrays as rows, and rows dealt out to a team of threads."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vitref.array import Array
from vitref.backends.numba_kernels.team import Team
from vitref.backends.workspace import Scratch, fresh

DTYPES = ("float32", "float64")

SMALL = 2**14
"""Elements: waking a team costs more than one thread needs for so few."""

FRESH = fresh(np.empty)
"""In the place of a workspace that was not given."""


def unsupported(*arrays: Array) -> str | None:
    """Why the compiled loops cannot take these arrays; None when they can."""
    dtypes = {str(array.dtype) for array in arrays}
    if len(dtypes) > 1:
        return f"mixed dtypes: {', '.join(sorted(dtypes))}"
    return None if dtypes <= set(DTYPES) else f"dtype {dtypes.pop()}"


def rows(x: Array) -> Array:
    """(..., C) as C-contiguous (rows, C); copied only where its layout asks for it."""
    x = np.ascontiguousarray(x)
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])


def copied(x: Array) -> Array:
    """A C-contiguous copy, for a loop that works in place."""
    return np.array(x, order="C")


def share_out(team: Team, x: Array, work: Callable[[int, slice], None]) -> None:
    """Call `work(i, slice of the first axis of x)`: one part for each thread, or one part if x is small."""
    if x.size <= SMALL or team.threads == 1:
        work(0, slice(0, len(x)))
    else:
        parts = team.split(len(x))
        team.run(lambda i: work(i, parts[i]))


def workspace(ws: Any) -> Scratch:
    """The given workspace; one that allocates where there is none."""
    given: Scratch = FRESH if ws is None else ws
    return given
