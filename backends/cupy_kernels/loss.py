"""What both losses share on the device: labels, and the mean over the images (cuda/losses.cu)."""

from typing import NamedTuple

from vitref.array import Array, Namespace, require_shape
from vitref.backends.cupy_kernels.device import Device, contiguous, int32, refused_dtype

BLOCK = (128, 1, 1)


class Labels(NamedTuple):
    """One of the two: classes (N,) in int64, or weights (N, K) in float32."""

    classes: Array | None
    weights: Array | None


def refuses(x: Array, labels: Array) -> str | None:
    """Why the kernels of the losses cannot take these logits and labels."""
    if x.ndim != 2 or 0 in x.shape:
        return f"logits of shape {tuple(x.shape)}"
    if labels.ndim == 2 and str(labels.dtype) == "float64":
        return "labels in float64: the reference runs"
    return refused_dtype(x)


def checked(x: Array, labels: Array, xp: Namespace, device: Device) -> Labels:
    """Raises ValueError when labels are neither (N,) nor (N, K)."""
    require_shape("labels", labels, tuple(x.shape) if labels.ndim == 2 else (x.shape[0],))
    dtype = "int64" if labels.ndim == 1 else "float32"
    if str(labels.dtype) != dtype:
        labels = xp.astype(labels, xp.zeros((), dtype=dtype).dtype)
    labels = contiguous(labels, device)
    return Labels(labels, None) if labels.ndim == 1 else Labels(None, labels)


def mean(losses: Array, device: Device) -> Array:
    """A number, (), in float32."""
    loss = device.empty((), "float32")
    images = int32(losses.shape[0])
    device.launch("losses", "mean_loss", (1, 1, 1), BLOCK, losses, loss, images)
    return loss


def as_float32(dy: Array, xp: Namespace) -> Array:
    """The cotangent of the loss; it is float32 already unless somebody else made it."""
    return dy if str(dy.dtype) == "float32" else xp.astype(dy, xp.zeros((), dtype="float32").dtype)
