"""The MLP: two products with their biases inside, and between them one pass over memory for GELU.

Keeps what enters and what leaves GELU, the two arrays of the inner width.
"""

from typing import Any, NamedTuple

from vitref.array import Array, Namespace
from vitref.backends.cupy_kernels.activation import FORMS as KNOWN
from vitref.backends.cupy_kernels.activation import activated, activated_back_with_bias
from vitref.backends.cupy_kernels.device import Device, contiguous, count, refused_dtype
from vitref.backends.cupy_kernels.linear import as_rows, parameter_gradients, weight_gradient
from vitref.backends.cupy_kernels.parts import part
from vitref.backends.workspace import Scratch, fresh
from vitref.graph.mlp import FORMS

PARAMS: tuple[str, ...] = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
HIDES: tuple[str, ...] = ("fc1", "act", "drop1", "fc2", "drop2")
ADDS = False
SETTINGS = ("device", "math")


class Inner(NamedTuple):
    """Of matrices: what entered fc1, what entered GELU and what left it."""

    x: Array
    h: Array
    a: Array


class Saved(NamedTuple):
    inner: Inner
    shape: tuple[int, ...]
    weights: tuple[Array, Array]
    form: str


def refuses(x: Array, *, activation: str, rate: float, device: Device, math: str) -> str | None:
    if rate:
        return "dropout"
    if FORMS.get(activation) not in KNOWN:
        return f"the activation {activation}"
    return refused_dtype(x) or ("no elements" if count(x.shape) == 0 else None)


def forward(
    x: Array,
    weight1: Array,
    bias1: Array,
    weight2: Array,
    bias2: Array,
    *,
    activation: str,
    rate: float,
    device: Device,
    math: str,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
) -> tuple[Array, Saved | None]:
    weights = contiguous(weight1, device), contiguous(weight2, device)
    parameters = weights[0], bias1, weights[1], bias2
    form, rows = FORMS[activation], as_rows(x, device)
    y, inner = rows_forward(rows, parameters, form, None, device=device, math=math, keep=keep)
    saved = None if inner is None else Saved(inner, tuple(x.shape), weights, form)
    return xp.reshape(y, (*x.shape[:-1], weight2.shape[0])), saved


def backward(
    dy: Array, saved: Saved, *, device: Device, math: str, xp: Namespace, ws: Any = None
) -> tuple[Array, ...]:
    inner, shape, weights, form = saved
    settings: dict[str, Any] = {"device": device, "math": math, "ws": ws or fresh(device.empty)}
    dx, *gradients = rows_backward(as_rows(dy, device), inner, weights, form, **settings)
    return xp.reshape(dx, shape), *gradients


def rows_forward(
    x: Array,
    parameters: tuple[Array, Array, Array, Array],
    form: str,
    residual: Array | None,
    *,
    device: Device,
    math: str,
    keep: bool,
) -> tuple[Array, Inner | None]:
    """MLP(x) of a matrix, plus `residual`; and what backward needs. `parameters` in the order of PARAMS."""
    weight1, bias1, weight2, bias2 = parameters
    h = device.product(x, weight1, transpose_b=True, bias=bias1, math=math)
    a = activated(h, form=form, out=None if keep else h, device=device)
    y = device.product(a, weight2, transpose_b=True, bias=bias2, residual=residual, math=math)
    return y, Inner(x, h, a) if keep else None


def rows_backward(
    dy: Array,
    inner: Inner,
    weights: tuple[Array, Array],
    form: str,
    *,
    device: Device,
    math: str,
    ws: Scratch,
) -> tuple[Array, ...]:
    """Cotangents of x and of the four parameters."""
    settings: dict[str, Any] = {"device": device, "math": math}
    of_fc1, of_fc2 = part(ws, "fc1"), part(ws, "fc2")
    dweight2, dbias2 = parameter_gradients(dy, inner.a, True, ws=of_fc2, **settings)
    da = device.product(dy, weights[1], math=math)
    dbias1 = of_fc1.out("bias", (da.shape[1],), da.dtype)
    dh = activated_back_with_bias(da, inner.h, dbias1, form=form, out=da, ws=ws, device=device)
    dweight1 = weight_gradient(dh, inner.x, ws=of_fc1, **settings)
    dx = device.product(dh, weights[0], math=math)
    assert dbias2 is not None
    return dx, dweight1, dbias1, dweight2, dbias2
