"""Kernels as a backend would write them, in NumPy, for the tests of the seam: fused, buffered, in place."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import NUMPY, HostArray


class Workspace:
    """Buffers by (step, role, shape, dtype); with `by_role` the step is left out, which is wrong."""

    def __init__(self, *, by_role: bool = False) -> None:
        self.buffers: dict[Any, HostArray] = {}
        self.by_role = by_role

    def __len__(self) -> int:
        return len(self.buffers)

    def at(self, step: str, parameters: dict[str, str]) -> SimpleNamespace:
        def empty(role: str, shape: tuple[int, ...], dtype: Any) -> HostArray:
            key = ("" if self.by_role else step, role, shape, dtype)
            return self.buffers.setdefault(key, np.full(shape, np.nan, dtype))

        return SimpleNamespace(empty=empty)


def empty(ws: Any, role: str, shape: tuple[int, ...], like: HostArray) -> HostArray:
    buffer: HostArray = np.empty(shape, like.dtype) if ws is None else ws.empty(role, shape, like.dtype)
    return buffer


def _rows(x: HostArray) -> HostArray:
    return x.reshape(-1, x.shape[-1])


# attention_core: unnormalised weights in one buffer; the row sums of p * dp from dy and y instead


def _flash_forward(q: Any, k: Any, v: Any, *, rate: float, xp: Any, ws: Any, keep: bool) -> Any:
    p = empty(ws, "p", (*q.shape[:-1], k.shape[-2]), q)
    np.matmul(q, np.matrix_transpose(k), out=p)
    p *= q.shape[-1] ** -0.5
    p -= p.max(axis=-1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    y = p @ v
    return y, (q, k, v, p, y) if keep else None


def _flash_backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
    q, k, v, p, y = saved
    dv = np.matrix_transpose(p) @ dy
    ds = p if ws else p.copy()
    ds *= dy @ np.matrix_transpose(v) - (dy * y).sum(axis=-1, keepdims=True)
    ds *= q.shape[-1] ** -0.5
    return ds @ k, np.matrix_transpose(ds) @ q, dv


def flash(*, widest: int = 64, **changes: Any) -> SimpleNamespace:
    def refuses(q: Any, k: Any, v: Any, *, rate: float) -> str | None:
        if rate:
            return "dropout"
        return None if q.shape[-1] <= widest else f"heads wider than {widest}"

    return SimpleNamespace(
        **{
            "PARAMS": (),
            "HIDES": ("scores", "softmax", "context"),
            "ADDS": False,
            "refuses": refuses,
            "forward": _flash_forward,
            "backward": _flash_backward,
            **changes,
        }
    )


# mlp: the hidden layer in one buffer, the residual's cotangent added in place


def _mlp_forward(
    x: Any, w1: Any, b1: Any, w2: Any, b2: Any, *, activation: str, rate: float, xp: Any, ws: Any, keep: bool
) -> Any:
    hidden = empty(ws, "hidden", (*x.shape[:-1], len(b1)), x)
    np.matmul(x, w1.T, out=hidden)
    hidden += b1
    return (hidden * _normal(hidden)) @ w2.T + b2, (x, w1, w2, hidden) if keep else None


def _mlp_backward(dy: Any, saved: Any, *, xp: Any, ws: Any, add: Any) -> Any:
    x, w1, w2, hidden = saved
    p, dhidden = _normal(hidden), dy @ w2
    dw2 = _rows(dy).T @ _rows(hidden * p)
    dhidden *= p + hidden * np.exp(hidden**2 / -2) / np.sqrt(2 * np.pi)
    if ws:
        hidden[...] = np.nan
    dx = dhidden @ w1
    dx += 0 if add is None else add
    return dx, _rows(dhidden).T @ _rows(x), _rows(dhidden).sum(axis=0), dw2, _rows(dy).sum(axis=0)


def _normal(x: HostArray) -> HostArray:
    p: HostArray = (1 + NUMPY.erf(x / np.sqrt(2))) / 2
    return p


def mlp(**changes: Any) -> SimpleNamespace:
    def refuses(x: Any, *, activation: str, rate: float) -> str | None:
        if rate:
            return "dropout"
        return None if activation == "gelu" else f"activation {activation}"

    return SimpleNamespace(
        **{
            "PARAMS": ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"),
            "HIDES": ("fc1", "act", "fc2"),
            "ADDS": True,
            "refuses": refuses,
            "forward": _mlp_forward,
            "backward": _mlp_backward,
            **changes,
        }
    )


# layer_norm: the normalised rows in one buffer, overwritten on the way back


def _norm_forward(x: Any, weight: Any, bias: Any, *, eps: float, xp: Any, ws: Any, keep: bool) -> Any:
    xhat = empty(ws, "xhat", x.shape, x)
    np.subtract(x, x.mean(axis=-1, keepdims=True), out=xhat)
    r = 1 / np.sqrt((xhat**2).mean(axis=-1, keepdims=True) + eps)
    xhat *= r
    return xhat * weight + bias, (xhat, r, weight) if keep else None


def _norm_backward(dy: Any, saved: Any, *, xp: Any, ws: Any, add: Any) -> Any:
    xhat, r, weight = saved
    dweight, dbias = (_rows(dy) * _rows(xhat)).sum(axis=0), _rows(dy).sum(axis=0)
    g = dy * weight
    along = xhat if ws else xhat.copy()
    along *= (g * xhat).mean(axis=-1, keepdims=True)
    g -= g.mean(axis=-1, keepdims=True) + along
    g *= r
    g += 0 if add is None else add
    return g, dweight, dbias


def layer_norm(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "PARAMS": ("weight", "bias"),
            "HIDES": (),
            "ADDS": True,
            "refuses": lambda x, *, eps: None,
            "forward": _norm_forward,
            "backward": _norm_backward,
            **changes,
        }
    )
