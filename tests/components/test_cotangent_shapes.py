"""A cotangent of another shape than the output is refused, where broadcasting would have taken it."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vitref.components import (
    context,
    dropout,
    gelu,
    layer_norm,
    layer_scale,
    linear,
    scores,
    softmax,
    tanh,
)

X = np.random.default_rng(0).standard_normal((2, 3, 4))
W = np.random.default_rng(1).standard_normal((4, 4))

CALLS: list[tuple[ModuleType, tuple[Any, ...], dict[str, Any]]] = [
    (context, (X[:, :, :3], X), {}),
    (dropout, (X,), {"mask": np.ones_like(X), "rate": 0.5}),
    (gelu, (X,), {"form": "erf"}),
    (layer_norm, (X, W[0], W[1]), {"eps": 1e-6}),
    (layer_scale, (X, W[0]), {}),
    (linear, (X, W, W[0]), {}),
    (scores, (X, X), {}),
    (softmax, (X,), {}),
    (tanh, (X,), {}),
]


@pytest.mark.parametrize(("part", "inputs", "static"), CALLS, ids=[part.__name__ for part, _, _ in CALLS])
def test_a_cotangent_of_another_shape_is_refused(
    part: ModuleType, inputs: tuple[Any, ...], static: dict[str, Any]
) -> None:
    y, saved = part.forward(*inputs, **static)
    part.backward(y, saved)
    for wrong in (y[:1], y[:, :1], y[..., :1], y[0]):
        with pytest.raises(ValueError, match=r"shape .* expected"):
            part.backward(wrong, saved)
