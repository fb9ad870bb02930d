"""Softmax cross-entropy on the device: cuda/losses.cu. The loss is float32 whatever the logits are."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import loss
from vitref.backends.cupy_kernels.device import Device, contiguous, int32, suffix
from vitref.backends.workspace import fresh

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    """The logits (N, K), the labels, and of each image (N, 3): m, log sum exp(x - m), sum of the labels."""

    x: Array
    labels: loss.Labels
    stats: Array


def refuses(x: Array, *, labels: Array, device: Device) -> str | None:
    return loss.refuses(x, labels)


def forward(
    x: Array, *, labels: Array, xp: Namespace, ws: Any = None, keep: bool = True, device: Device
) -> tuple[Array, Saved]:
    ws, x, known = ws or fresh(device.empty), contiguous(x, device), loss.checked(x, labels, xp, device)
    n, k = x.shape
    losses = ws.scratch("losses", (n,), "float32")
    stats = ws.empty("stats", (n, 3), "float32")
    kernel = f"cross_entropy_forward_{suffix(x)}"
    device.launch("losses", kernel, (n, 1, 1), loss.BLOCK, x, *known, losses, stats, int32(k))
    return loss.mean(losses, device), Saved(x, known, stats)


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device) -> tuple[Array]:
    x, labels, stats = saved
    dx, dy = device.empty(tuple(x.shape), x.dtype), loss.as_float32(dy, xp)
    kernel, width = f"cross_entropy_backward_{suffix(x)}", int32(x.shape[1])
    device.launch("losses", kernel, (x.shape[0], 1, 1), loss.BLOCK, dy, x, *labels, stats, dx, width)
    return (dx,)
