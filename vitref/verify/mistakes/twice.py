"""LayerNorm applied to its own output, with the same parameters: a step of programs that norm twice."""

from typing import Any, NamedTuple

from vitref.array import NUMPY, Array, Namespace
from vitref.components import layer_norm

PARAMS = layer_norm.PARAMS


class Saved(NamedTuple):
    first: Any
    second: Any


def forward(
    x: Array, weight: Array, bias: Array, *, eps: float, xp: Namespace = NUMPY
) -> tuple[Array, Saved]:
    y, first = layer_norm.forward(x, weight, bias, eps=eps, xp=xp)
    y, second = layer_norm.forward(y, weight, bias, eps=eps, xp=xp)
    return y, Saved(first, second)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> layer_norm.Grads:
    between, dweight, dbias = layer_norm.backward(dy, saved.second, xp=xp)
    dx, dweight_first, dbias_first = layer_norm.backward(between, saved.first, xp=xp)
    return layer_norm.Grads(dx, dweight + dweight_first, dbias + dbias_first)
