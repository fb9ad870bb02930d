"""Wrong GELUs and hyperbolic tangents."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import gelu, tanh

Curve = Callable[[Array], Array]


def activation(share: Curve, slope: Curve) -> dict[str, Callable[..., Any]]:
    """x P(x) for any P, with P' = slope."""

    def forward(x: Array, *, form: str, xp: Any = NUMPY) -> Any:
        return x * share(x), x

    def backward(dy: Array, x: Array, *, xp: Any = NUMPY) -> Any:
        return gelu.Grads(dy * (share(x) + x * slope(x)))

    return {"forward": forward, "backward": backward}


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * 1.702 * x))


def other_form(x: Array, *, form: str, xp: Any = NUMPY) -> Any:
    return gelu.forward(x, form="tanh")


def other_form_back(dy: Array, saved: gelu.Saved, *, xp: Any = NUMPY) -> Any:
    return gelu.backward(dy, saved._replace(form="tanh"))


def no_slope(dy: Array, saved: gelu.Saved, *, xp: Any = NUMPY) -> Any:
    return gelu.Grads(dy * saved.p)


def cube_not_differentiated(dy: Array, saved: gelu.Saved, *, xp: Any = NUMPY) -> Any:
    x, p, form = saved
    if form == "erf":
        return gelu.backward(dy, saved)
    return gelu.Grads(dy * (p + x * 2 * p * (1 - p) * gelu.SQRT_2_OVER_PI * (1 + gelu.CUBIC * x * x)))


def promoted(x: Array, *, form: str, xp: Any = NUMPY) -> Any:
    y, saved = gelu.forward(x, form=form)  # type: ignore[arg-type]
    return y * (np.sqrt(2) * math.sqrt(0.5)), saved


def promoted_back(dy: Array, saved: gelu.Saved, *, xp: Any = NUMPY) -> Any:
    return gelu.Grads(gelu.backward(dy, saved).x * np.float64(1))


def half_inside(x: Array, *, form: str, xp: Any = NUMPY) -> Any:
    rounded = x.astype(np.float16).astype(x.dtype) if x.dtype == np.float32 else x
    return gelu.forward(rounded, form=form)  # type: ignore[arg-type]


def bent(curve: Curve, slope: Curve) -> dict[str, Callable[..., Any]]:
    """Another curve in the place of tanh, with its slope as a function of y."""

    def forward(x: Array, *, xp: Any = NUMPY) -> Any:
        return curve(x), tanh.Saved(curve(x))

    def backward(dy: Array, saved: tanh.Saved, *, xp: Any = NUMPY) -> Any:
        return tanh.Grads(dy * slope(saved.y))

    return {"forward": forward, "backward": backward}


def slope_at_y(dy: Array, saved: tanh.Saved, *, xp: Any = NUMPY) -> Any:
    return tanh.Grads(dy * (1 - np.tanh(saved.y) ** 2))


MISTAKES = [
    Mistake(gelu, "tanh form always", ("oracle",), other_form, other_form_back),
    Mistake(
        gelu,
        "QuickGELU",
        ("oracle",),
        **activation(sigmoid, lambda x: 1.702 * sigmoid(x) * (1 - sigmoid(x))),
    ),
    Mistake(
        gelu,
        "SiLU",
        ("oracle", "invariants"),
        **activation(lambda x: sigmoid(x / 1.702), lambda x: 0.25 * (1 - np.tanh(0.5 * x) ** 2)),
    ),
    Mistake(gelu, "derivative of the other form", ("adjoint",), backward=other_form_back),
    Mistake(gelu, "x P' left out", ("adjoint",), backward=no_slope),
    Mistake(gelu, "3 of the cube left out", ("adjoint",), backward=cube_not_differentiated),
    Mistake(gelu, "promotion by np.sqrt(2)", ("shapes_and_dtypes",), promoted),
    Mistake(gelu, "promotion in backward", ("shapes_and_dtypes",), backward=promoted_back),
    Mistake(gelu, "half precision inside", ("oracle", "precision"), half_inside),
    Mistake(tanh, "left out", ("oracle", "invariants"), **bent(lambda x: x + 0, lambda y: 1 + 0 * y)),
    Mistake(
        tanh,
        "the logistic function",
        ("oracle", "invariants"),
        **bent(lambda x: (1 + np.tanh(x / 2)) / 2, lambda y: y * (1 - y)),
    ),
    Mistake(
        tanh, "tanh of half of x", ("oracle",), **bent(lambda x: np.tanh(x / 2), lambda y: (1 - y * y) / 2)
    ),
    Mistake(
        tanh, "slope 1 - y", ("adjoint",), backward=lambda dy, s, *, xp=NUMPY: tanh.Grads(dy * (1 - s.y))
    ),
    Mistake(tanh, "slope at y instead of x", ("adjoint",), backward=slope_at_y),
]
