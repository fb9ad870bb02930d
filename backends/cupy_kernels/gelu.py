"""GELU on the device, element by element; keeps x alone."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace, require_shape
from vitref.backends.cupy_kernels.activation import activated, activated_back
from vitref.backends.cupy_kernels.device import Device, contiguous, count, refused_dtype

PARAMS: tuple[str, ...] = ()
HIDES: tuple[str, ...] = ()
ADDS = False


class Saved(NamedTuple):
    x: Array
    form: str


def refuses(x: Array, *, form: str, device: Device) -> str | None:
    if form not in ("erf", "tanh"):
        return f"form {form!r}"
    return refused_dtype(x) if count(x.shape) else "no elements"


def forward(
    x: Array, *, form: str, xp: Namespace, ws: Any = None, keep: bool = True, device: Device
) -> tuple[Array, Saved]:
    x = contiguous(x, device)
    return activated(x, form=form, device=device), Saved(x, form)


def backward(dy: Array, saved: Saved, *, xp: Namespace, ws: Any = None, device: Device) -> tuple[Array]:
    require_shape("dy", dy, tuple(saved.x.shape))
    return (activated_back(contiguous(dy, device), saved.x, form=saved.form, device=device),)
