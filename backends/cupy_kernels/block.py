"""An encoder block: four products that carry biases and residuals inside, two norms, attention, GELU.

The residual stream is never added in a pass of its own: forward it is an operand of the products, backward
of the norms. Heads are neither split nor merged: attention reads and writes the products' own layout.
"""

from functools import partial
from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels import attention_core, layer_norm, mlp
from vitref.backends.cupy_kernels.device import Device, ceil_div, contiguous
from vitref.backends.cupy_kernels.linear import as_rows, parameter_gradients
from vitref.backends.cupy_kernels.parts import part
from vitref.backends.workspace import Scratch, fresh
from vitref.components import merge_heads, split_heads
from vitref.errors import BackendError
from vitref.graph.mlp import FORMS

PARAMS: tuple[str, ...] = (
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
)
HIDES: tuple[str, ...] = (
    "norm1",
    "attn",
    "ls1",
    "drop_path1",
    "add1",
    "norm2",
    "mlp",
    "ls2",
    "drop_path2",
    "add2",
)
ADDS = False
SETTINGS = ("device", "math")


class Saved(NamedTuple):
    """What the parts keep, and the matrices between them."""

    shape: tuple[int, ...]
    norm1: layer_norm.Saved
    normed: Array
    attention: attention_core.Saved
    merged: Array
    norm2: layer_norm.Saved
    inner: mlp.Inner
    weights: tuple[Array, Array, Array, Array]
    biased: bool
    form: str


def absent(*, qkv_bias: bool, **static: Any) -> tuple[str, ...]:
    return () if qkv_bias else ("attn.qkv.bias",)


def refuses(
    x: Array,
    *,
    heads: int,
    eps: float,
    activation: str,
    qkv_bias: bool,
    scaled: bool,
    rate: float,
    attention_rate: float,
    path_rate: float,
    device: Device,
    math: str,
) -> str | None:
    if scaled:
        return "LayerScale"
    if path_rate:
        return "DropPath"
    if x.ndim != 3:
        return f"an input of shape {tuple(x.shape)}"
    of_a_head = x[:, None, :, : ceil_div(x.shape[-1], heads)]
    return (
        mlp.refuses(x, activation=activation, rate=rate, device=device, math=math)
        or layer_norm.refuses(x, eps=eps, device=device)
        or attention_core.refuses(*(of_a_head,) * 3, rate=attention_rate, device=device, math=math)
    )


def forward(
    x: Array,
    *parameters: Array,
    heads: int,
    eps: float,
    activation: str,
    device: Device,
    math: str,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
    **static: Any,
) -> tuple[Array, Saved | None]:
    ws, shape = ws or fresh(device.empty), tuple(x.shape)
    weight1, bias1, qkv, qkv_bias, proj, proj_bias, weight2, bias2, *of_mlp = parameters
    qkv, proj, of_mlp[0], of_mlp[2] = (contiguous(w, device) for w in (qkv, proj, of_mlp[0], of_mlp[2]))
    common: dict[str, Any] = {"xp": xp, "keep": keep, "device": device}
    multiply = partial(device.product, transpose_b=True, math=math)
    rows = as_rows(x, device)
    normed, norm1 = layer_norm.forward(rows, weight1, bias1, eps=eps, ws=part(ws, "norm1"), **common)
    attended = xp.reshape(multiply(normed, qkv, bias=qkv_bias), (*shape[:2], qkv.shape[0]))
    qkv_heads, _ = split_heads.forward(attended, heads=heads, xp=xp)
    _check_heads(qkv_heads, device, math)
    context, attention = attention_core.forward(
        *qkv_heads, rate=0.0, math=math, ws=part(ws, "attn"), **common
    )
    merged = as_rows(merge_heads.forward(context, xp=xp)[0], device)
    middle = multiply(merged, proj, bias=proj_bias, residual=rows)
    normed2, norm2 = layer_norm.forward(middle, weight2, bias2, eps=eps, ws=part(ws, "norm2"), **common)
    form = FORMS[activation]
    inside = of_mlp[0], of_mlp[1], of_mlp[2], of_mlp[3]
    y, inner = mlp.rows_forward(normed2, inside, form, middle, device=device, math=math, keep=keep)
    y = xp.reshape(y, shape)
    if inner is None or attention is None:
        return y, None
    weights = qkv, proj, of_mlp[0], of_mlp[2]
    return y, Saved(
        shape, norm1, normed, attention, merged, norm2, inner, weights, qkv_bias is not None, form
    )


def backward(
    dy: Array, saved: Saved, *, device: Device, math: str, xp: Namespace, ws: Any = None
) -> tuple[Array | None, ...]:
    ws = ws or fresh(device.empty)
    qkv, proj, fc1, fc2 = saved.weights
    settings: dict[str, Any] = {"device": device, "math": math}
    rows, of = as_rows(dy, device), partial(part, ws)
    dnormed, *of_mlp = mlp.rows_backward(rows, saved.inner, (fc1, fc2), saved.form, ws=of("mlp"), **settings)
    norm = partial(layer_norm.backward, xp=xp, device=device)
    dmiddle, *of_norm2 = norm(dnormed, saved.norm2, ws=of("norm2"), add=rows)
    of_proj = parameter_gradients(dmiddle, saved.merged, True, ws=of("attn.proj"), **settings)
    dmerged = device.product(dmiddle, proj, math=math)
    dqkv = _attention_backward(dmerged, saved, device, math, xp, ws)
    of_qkv = parameter_gradients(dqkv, saved.normed, saved.biased, ws=of("attn.qkv"), **settings)
    dnormed = device.product(dqkv, qkv, math=math)
    dx, *of_norm1 = norm(dnormed, saved.norm1, ws=of("norm1"), add=dmiddle)
    return xp.reshape(dx, saved.shape), *of_norm1, *of_qkv, *of_proj, *of_norm2, *of_mlp


def _check_heads(qkv: tuple[Array, Array, Array], device: Device, math: str) -> None:
    """Raise BackendError for heads that no kernel takes; `refuses` knows them as width / heads alone."""
    if reason := attention_core.refuses(*qkv, rate=0.0, device=device, math=math):
        raise BackendError(
            "attention",
            found=reason,
            expected="heads that a CUDA kernel takes",
            remedy='Use dtype="float64", or another backend.',
        )


def _attention_backward(
    dmerged: Array, saved: Saved, device: Device, math: str, xp: Namespace, ws: Scratch
) -> Array:
    """The cotangent of the fused projection, as a matrix, of that of the merged heads."""
    images, heads, tokens, width = saved.attention.q.shape
    merged = xp.reshape(dmerged, (images, tokens, heads * width))
    dcontext = merge_heads.backward(merged, merge_heads.Saved(heads), xp=xp).x
    dqkv = device.empty((images, tokens, 3 * heads * width), dmerged.dtype)
    parts, _ = split_heads.forward(dqkv, heads=heads, xp=xp)
    lse = saved.attention.lse
    delta = ws.scratch("delta", lse.shape, lse.dtype)
    attention_core.attend_backward(device, math, dcontext, saved.attention, parts, delta)
    return xp.reshape(dqkv, (images * tokens, 3 * heads * width))
