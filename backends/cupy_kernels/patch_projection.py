"""The projection of patches: the linear kernel, with the weight of a convolution as a matrix."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import linear
from vitref.backends.cupy_kernels.device import Device

PARAMS: tuple[str, ...] = ("weight", "bias")
HIDES: tuple[str, ...] = ()
ADDS = False
SETTINGS = ("device", "math")

refuses = linear.refuses


class Saved(NamedTuple):
    linear: linear.Saved
    kernel_shape: tuple[int, ...]


def forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    device: Device,
    math: str,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    flat = xp.reshape(weight, (weight.shape[0], -1))
    y, saved = linear.forward(x, flat, bias, device=device, math=math, xp=xp, keep=keep)
    return y, None if saved is None else Saved(saved, tuple(weight.shape))


def backward(
    dy: Array, saved: Saved, *, device: Device, math: str, xp: Namespace, ws: Any = None
) -> tuple[Array, Array, Array | None]:
    dx, dflat, dbias = linear.backward(dy, saved.linear, device=device, math=math, xp=xp)
    return dx, xp.reshape(dflat, saved.kernel_shape), dbias
