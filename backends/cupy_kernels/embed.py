"""From pixels to tokens: patches, one product with its bias inside, and one pass for token and positions."""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import patch_projection, unfold
from vitref.backends.cupy_kernels.column_sum import column_sum
from vitref.backends.cupy_kernels.device import Device, contiguous, int32, suffix
from vitref.backends.cupy_kernels.parts import part
from vitref.backends.workspace import fresh

PARAMS: tuple[str, ...] = ("patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token", "pos_embed")
HIDES: tuple[str, ...] = ("patch_embed", "cls_token", "pos_embed", "pos_drop", "embed")
ADDS = False
SETTINGS = ("device", "math")

THREADS = 128


class Saved(NamedTuple):
    """token: the shape of the class token, None without one; positions: that of the table."""

    unfold: unfold.Saved
    projection: patch_projection.Saved
    token: tuple[int, ...] | None
    positions: tuple[int, ...]


def absent(*, config: Any, rate: float) -> tuple[str, ...]:
    return () if config.class_token else ("cls_token",)


def refuses(image: Array, *, config: Any, rate: float, device: Device, math: str) -> str | None:
    if rate:
        return "dropout"
    if config.grid != config.position_grid:
        return "a position table that is resized"
    return unfold.refuses(image, patch_size=config.patch_size, device=device)


def forward(
    image: Array,
    weight: Array,
    bias: Array,
    token: Array | None,
    positions: Array,
    *,
    config: Any,
    rate: float,
    device: Device,
    math: str,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    rows, of_unfold = unfold.forward(image, patch_size=config.patch_size, xp=xp, keep=keep, device=device)
    settings: dict[str, Any] = {"device": device, "math": math, "xp": xp, "keep": keep}
    patches, projection = patch_projection.forward(rows, weight, bias, **settings)
    y = placed(patches, token, positions, device)
    if projection is None:
        return y, None
    shape = None if token is None else tuple(token.shape)
    return y, Saved(of_unfold, projection, shape, tuple(positions.shape))


def backward(
    dy: Array, saved: Saved, *, device: Device, math: str, xp: Namespace, ws: Any = None
) -> tuple[Array | None, ...]:
    ws, dy = ws or fresh(device.empty), contiguous(dy, device)
    images, tokens, width = dy.shape
    prefix = 0 if saved.token is None else 1
    dpatches = contiguous(dy[:, prefix:, :], device)
    settings: dict[str, Any] = {"device": device, "math": math, "xp": xp}
    of_projection = patch_projection.backward(
        dpatches, saved.projection, ws=part(ws, "patch_embed.proj"), **settings
    )
    (dimage,) = unfold.backward(of_projection[0], saved.unfold, xp=xp, device=device)
    sums = device.empty((tokens * width,), dy.dtype)
    column_sum(xp.reshape(dy, (images, tokens * width)), out=sums, device=device, ws=ws)
    token = saved.token and xp.astype(xp.reshape(sums[:width], saved.token), dy.dtype)
    dpositions = xp.reshape(sums[(tokens - saved.positions[1]) * width :], saved.positions)
    return dimage, of_projection[1], of_projection[2], token, dpositions


def placed(patches: Array, token: Array | None, positions: Array, device: Device) -> Array:
    """Patches (N, P, D) behind the token (1, 1, D) or None; positions (1, R, D) added to the last R rows."""
    images, count, width = patches.shape
    prefix = 0 if token is None else 1
    tokens = count + prefix
    y = device.empty((images, tokens, width), patches.dtype)
    given = (None if token is None else contiguous(token, device), contiguous(positions, device))
    sizes = map(int32, (tokens, width, prefix, tokens - positions.shape[1]))
    grid, block = (images * tokens, 1, 1), (THREADS, 1, 1)
    device.launch("tokens", f"place_{suffix(patches)}", grid, block, patches, *given, y, *sizes)
    return y
