"""Projection of unfolded patches: the kernel of `linear` on the flattened convolution kernel."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.numba_kernels import linear
from vitref.backends.numba_kernels.linear import refuses
from vitref.backends.numba_kernels.rows import workspace
from vitref.backends.numba_kernels.team import Team
from vitref.backends.workspace import Scratch

__all__ = ["ADDS", "HIDES", "PARAMS", "backward", "forward", "refuses"]

PARAMS = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    linear: linear.Saved
    kernel_shape: tuple[int, ...]


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
    flat = weight.reshape(len(weight), -1)
    y, saved = linear.forward(x, flat, bias, team=team, together=together, xp=xp, ws=ws, keep=keep)
    return y, None if saved is None else Saved(saved, weight.shape)


def backward(
    dy: Array, saved: Saved, *, team: Team, together: int | None = None, xp: Namespace, ws: Any = None
) -> tuple[Array, Array, Array | None]:
    given = workspace(ws)
    dweight = given.out("weight", saved.kernel_shape, dy.dtype)
    flattened = _Flattened(given, dweight)
    dx, _, dbias = linear.backward(dy, saved.linear, team=team, xp=xp, ws=flattened)
    return dx, dweight, dbias


class _Flattened(NamedTuple):
    """A workspace that gives `dweight`, seen as (D, C h w), for the gradient of the flattened kernel."""

    given: Scratch
    dweight: Array

    def out(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.dweight.reshape(shape) if name == "weight" else self.given.out(name, shape, dtype)
