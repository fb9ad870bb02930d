"""Wrong linear layers and patch projections."""

from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake, T, square
from vitref.array import NUMPY, Array
from vitref.components import linear, patch_projection


def not_transposed(x: Array, weight: Array, bias: Array | None = None, *, xp: Any = NUMPY) -> Any:
    return linear.forward(x, T(weight) if square(weight) else weight, bias)


def not_transposed_back(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    return right._replace(weight=T(right.weight)) if square(right.weight) else right


def transposed_in_dx(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    return right._replace(x=np.matmul(dy, T(saved.weight))) if square(saved.weight) else right


def dbias_over_one_axis(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    return right if right.bias is None or dy.ndim == 1 else right._replace(bias=np.sum(dy, axis=0))


def dbias_averaged(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    rows = np.reshape(dy, (-1, dy.shape[-1]))
    return right if right.bias is None else right._replace(bias=np.mean(rows, axis=0))


def dweight_of_one_image(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    if dy.ndim == 1:
        return right
    return right._replace(weight=linear.backward(dy[:1], saved._replace(x=saved.x[:1])).weight)


def bias_ignored(x: Array, weight: Array, bias: Array | None = None, *, xp: Any = NUMPY) -> Any:
    return linear.forward(x, weight)[0], linear.Saved(x, weight, bias)


def bias_ignored_back(dy: Array, saved: linear.Saved, *, xp: Any = NUMPY) -> Any:
    right = linear.backward(dy, saved)
    return right if right.bias is None else right._replace(bias=0 * right.bias)


def broadcast_bias(x: Array, weight: Array, bias: Array | None = None, *, xp: Any = NUMPY) -> Any:
    y, _ = linear.forward(x, weight)
    return y if bias is None else y + bias, linear.Saved(x, weight, bias)


def channels_last(x: Array, weight: Array, bias: Array | None = None, *, xp: Any = NUMPY) -> Any:
    y, saved = patch_projection.forward(x, np.permute_dims(weight, (0, 2, 3, 1)), bias)
    return y, saved


def channels_last_back(dy: Array, saved: patch_projection.Saved, *, xp: Any = NUMPY) -> Any:
    right = patch_projection.backward(dy, saved)
    return right._replace(weight=np.permute_dims(right.weight, (0, 3, 1, 2)))


MISTAKES = [
    Mistake(linear, "weight not transposed, O = I", ("oracle",), not_transposed, not_transposed_back),
    Mistake(linear, "weight transposed in dx", ("adjoint", "invariants"), backward=transposed_in_dx),
    Mistake(linear, "dbias over one axis only", ("shapes_and_dtypes",), backward=dbias_over_one_axis),
    Mistake(linear, "dbias averaged", ("adjoint",), backward=dbias_averaged),
    Mistake(linear, "dweight of one image", ("adjoint",), backward=dweight_of_one_image),
    Mistake(linear, "bias ignored", ("oracle",), bias_ignored, bias_ignored_back),
    Mistake(linear, "bias broadcast", ("refusals",), broadcast_bias),
    Mistake(
        patch_projection,
        "kernel in the order (i, j, c)",
        ("oracle", "invariants"),
        channels_last,
        channels_last_back,
    ),
]
