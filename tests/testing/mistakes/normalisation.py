"""Wrong LayerNorms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import layer_norm


def normalised(change: Callable[[Array, Array, float], tuple[Array, Any]]) -> dict[str, Callable[..., Any]]:
    """A right pair for any r = r(v): dx = r (g - mean g - xhat mean(g xhat) k)."""

    def forward(x: Array, weight: Array, bias: Array, *, eps: float, xp: Any = NUMPY) -> Any:
        centred = x - np.mean(x, axis=-1, keepdims=True)
        v = np.mean(centred * centred, axis=-1, keepdims=True)
        r, k = change(x, v, eps)
        return centred * r * weight + bias, (centred * r, r, weight, k + 0 * v)

    def backward(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
        xhat, r, weight, k = saved
        g, rows = dy * weight, tuple(range(dy.ndim - 1))
        along = np.mean(g * xhat, axis=-1, keepdims=True)
        dx = r * (g - np.mean(g, axis=-1, keepdims=True) - k * xhat * along)
        return layer_norm.Grads(dx, np.sum(dy * xhat, axis=rows), np.sum(dy, axis=rows))

    return {"forward": forward, "backward": backward}


def eps_outside(x: Array, v: Array, eps: float) -> tuple[Array, Any]:
    std = np.sqrt(v + 1e-30)
    return 1 / (std + eps), (std + eps) / std


def bessel(x: Array, v: Array, eps: float) -> tuple[Array, Any]:
    k = x.shape[-1] / max(x.shape[-1] - 1, 1)
    return 1 / np.sqrt(v * k + eps), k


def eps_fixed(x: Array, v: Array, eps: float) -> tuple[Array, Any]:
    return 1 / np.sqrt(v + 1e-5), 1


def dx_of_layer_norm(formula: Callable[..., Array]) -> Callable[..., Any]:
    def backward(dy: Array, saved: layer_norm.Saved, *, xp: Any = NUMPY) -> Any:
        xhat, r, weight = saved
        return layer_norm.backward(dy, saved)._replace(x=r * formula(dy, weight, xhat))

    return backward


def mean(x: Array) -> Array:
    return np.mean(x, axis=-1, keepdims=True)


def joint_statistics(x: Array, weight: Array, bias: Array, *, eps: float, xp: Any = NUMPY) -> Any:
    whole = np.reshape(x, (1, -1))
    (xhat, saved) = layer_norm.forward(whole, np.ones_like(whole[0]), np.zeros_like(whole[0]), eps=eps)
    return np.reshape(xhat, x.shape) * weight + bias, (saved, weight)


def joint_statistics_back(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
    whole, weight = saved
    dx = layer_norm.backward(np.reshape(dy * weight, (1, -1)), whole).x
    rows, xhat = tuple(range(dy.ndim - 1)), np.reshape(whole.xhat, dy.shape)
    return layer_norm.Grads(np.reshape(dx, dy.shape), np.sum(dy * xhat, axis=rows), np.sum(dy, axis=rows))


def root_mean_square(x: Array, weight: Array, bias: Array, *, eps: float, xp: Any = NUMPY) -> Any:
    r = 1 / np.sqrt(mean(x * x) + eps)
    return x * r * weight + bias, layer_norm.Saved(x * r, r, weight)


def one_pass_variance(x: Array, weight: Array, bias: Array, *, eps: float, xp: Any = NUMPY) -> Any:
    v = mean(x * x) - mean(x) * mean(x)
    r = 1 / np.sqrt(np.maximum(v, 0) + eps)
    xhat = (x - mean(x)) * r
    return xhat * weight + bias, layer_norm.Saved(xhat, r, weight)


def two_dimensional_rows(dy: Array, saved: layer_norm.Saved, *, xp: Any = NUMPY) -> Any:
    right = layer_norm.backward(dy, saved)
    return right._replace(bias=np.sum(dy, axis=0)) if dy.ndim > 1 else right


MISTAKES = [
    Mistake(layer_norm, "eps outside the root", ("oracle", "invariants"), **normalised(eps_outside)),
    Mistake(layer_norm, "Bessel's C - 1", ("oracle", "invariants"), **normalised(bessel)),
    Mistake(layer_norm, "eps by habit", ("oracle", "invariants"), **normalised(eps_fixed)),
    Mistake(
        layer_norm,
        "mean of g left out of dx",
        ("adjoint", "invariants"),
        backward=dx_of_layer_norm(lambda dy, w, xhat: dy * w - xhat * mean(dy * w * xhat)),
    ),
    Mistake(
        layer_norm,
        "mean of g xhat left out of dx",
        ("adjoint",),
        backward=dx_of_layer_norm(lambda dy, w, xhat: dy * w - mean(dy * w)),
    ),
    Mistake(
        layer_norm,
        "weight left out of g",
        ("adjoint",),
        backward=dx_of_layer_norm(lambda dy, w, xhat: dy - mean(dy) - xhat * mean(dy * xhat)),
    ),
    Mistake(
        layer_norm,
        "statistics over all rows together",
        ("oracle", "rows_independent", "invariants"),
        joint_statistics,
        joint_statistics_back,
    ),
    Mistake(
        layer_norm,
        "mean not subtracted (RMSNorm)",
        ("oracle", "invariants"),
        root_mean_square,
        dx_of_layer_norm(lambda dy, w, xhat: dy * w - xhat * mean(dy * w * xhat)),
    ),
    Mistake(layer_norm, "variance in one pass", ("oracle", "precision"), one_pass_variance),
    Mistake(layer_norm, "dbias over one axis only", ("shapes_and_dtypes",), backward=two_dimensional_rows),
]
