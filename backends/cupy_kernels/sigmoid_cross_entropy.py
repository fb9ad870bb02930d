"""Sigmoid cross-entropy on the device: cuda/losses.cu. The loss is float32 whatever the logits are."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import loss
from vitref.backends.cupy_kernels.device import Device, contiguous, int32, suffix
from vitref.backends.workspace import fresh

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    x: Array
    labels: loss.Labels


def refuses(x: Array, *, labels: Array, device: Device) -> str | None:
    return loss.refuses(x, labels)


def forward(
    x: Array, *, labels: Array, xp: Namespace, ws: Any = None, keep: bool = True, device: Device
) -> tuple[Array, Saved]:
    ws, x, known = ws or fresh(device.empty), contiguous(x, device), loss.checked(x, labels, xp, device)
    n, k = x.shape
    losses = ws.scratch("losses", (n,), "float32")
    kernel = f"sigmoid_cross_entropy_forward_{suffix(x)}"
    device.launch("losses", kernel, (n, 1, 1), loss.BLOCK, x, *known, losses, int32(k))
    return loss.mean(losses, device), Saved(x, known)


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device) -> tuple[Array]:
    x, labels = saved
    dx, dy = device.empty(tuple(x.shape), x.dtype), loss.as_float32(dy, xp)
    kernel, width = f"sigmoid_cross_entropy_backward_{suffix(x)}", int32(x.shape[1])
    device.launch("losses", kernel, (x.shape[0], 1, 1), loss.BLOCK, dy, x, *labels, dx, width)
    return (dx,)
