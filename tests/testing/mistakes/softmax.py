"""Wrong softmaxes and cross-entropies."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake, T, square
from vitref.array import NUMPY, Array
from vitref.components import cross_entropy, sigmoid_cross_entropy, softmax


def wrong_axis(x: Array, *, xp: Any = NUMPY) -> Any:
    turned = x.ndim > 1 and square(x)
    y, saved = softmax.forward(T(x) if turned else x)
    return T(y) if turned else y, (saved, turned)


def wrong_axis_back(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
    inner, turned = saved
    dx = softmax.backward(T(dy) if turned else dy, inner).x
    return softmax.Grads(T(dx) if turned else dx)


def dx_of_softmax(formula: Callable[[Array, Array], Array]) -> Callable[..., Any]:
    return lambda dy, saved, *, xp=NUMPY: softmax.Grads(formula(dy, saved.y))


def total(x: Array) -> Array:
    return np.sum(x, axis=-1, keepdims=True)


def without_maximum(x: Array, *, xp: Any = NUMPY) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.exp(x) / total(np.exp(x))
    return y, softmax.Saved(y)


def in_place_on_saved(dy: Array, saved: softmax.Saved, *, xp: Any = NUMPY) -> Any:
    dx = softmax.backward(dy, saved).x
    saved.y[...] = dx
    return softmax.Grads(dx)


def sum_of_losses(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    y, saved = cross_entropy.forward(x, labels=labels)
    return y * x.shape[0], saved


def softmax_twice(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    return cross_entropy.forward(softmax.forward(x)[0], labels=labels)


def labels_moved(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    moved = (labels + 1) % x.shape[1] if labels.ndim == 1 else np.roll(labels, 1, axis=1)
    return cross_entropy.forward(x, labels=moved)


def dx_of_cross_entropy(formula: Callable[..., Array]) -> Callable[..., Any]:
    return lambda dy, saved, *, xp=NUMPY: cross_entropy.Grads(formula(dy, saved.p, saved.t))


def mean_over_classes(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    y, saved = sigmoid_cross_entropy.forward(x, labels=labels)
    return y / x.shape[1], saved


def mean_over_classes_back(dy: Array, saved: sigmoid_cross_entropy.Saved, *, xp: Any = NUMPY) -> Any:
    return sigmoid_cross_entropy.backward(dy / saved.t.shape[1], saved)


def softmax_for_sigmoid(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    return cross_entropy.forward(x, labels=labels)


def softmax_for_sigmoid_back(dy: Array, saved: cross_entropy.Saved, *, xp: Any = NUMPY) -> Any:
    return sigmoid_cross_entropy.Grads(cross_entropy.backward(dy, saved).x)


def only_the_right_class(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    """-t log s, without the classes that are not there."""
    _, saved = sigmoid_cross_entropy.forward(x, labels=labels)
    m = np.maximum(-x, 0)
    return np.sum(saved.t * (m + np.log(np.exp(-m) + np.exp(-x - m)))) / x.shape[0], saved


def only_the_right_class_back(dy: Array, saved: sigmoid_cross_entropy.Saved, *, xp: Any = NUMPY) -> Any:
    return sigmoid_cross_entropy.Grads(dy / len(saved.t) * saved.t * (saved.sigmoid - 1))


def overflowing(x: Array, *, labels: Array, xp: Any = NUMPY) -> Any:
    _, saved = sigmoid_cross_entropy.forward(x, labels=labels)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sum(np.log(1 + np.exp(x)) - saved.t * x) / x.shape[0], saved


def dx_of_sigmoid(formula: Callable[..., Array]) -> Callable[..., Any]:
    return lambda dy, saved, *, xp=NUMPY: sigmoid_cross_entropy.Grads(formula(dy, saved.sigmoid, saved.t))


MISTAKES = [
    Mistake(
        softmax,
        "the wrong axis",
        ("oracle", "rows_independent", "invariants"),
        wrong_axis,
        wrong_axis_back,
    ),
    Mistake(softmax, "no sum in dx", ("adjoint", "invariants"), backward=dx_of_softmax(lambda dy, y: y * dy)),
    Mistake(
        softmax,
        "diagonal of the Jacobian only",
        ("adjoint", "invariants"),
        backward=dx_of_softmax(lambda dy, y: dy * y * (1 - y)),
    ),
    Mistake(
        softmax,
        "sum of dy for the sum of y dy",
        ("adjoint", "invariants"),
        backward=dx_of_softmax(lambda dy, y: y * (dy - total(dy))),
    ),
    Mistake(softmax, "maximum not subtracted", ("precision",), without_maximum),
    Mistake(softmax, "backward writes into saved", ("pure",), backward=in_place_on_saved),
    Mistake(
        cross_entropy,
        "sum over the batch",
        ("oracle",),
        sum_of_losses,
        dx_of_cross_entropy(lambda dy, p, t: dy * (p * total(t) - t)),
    ),
    Mistake(cross_entropy, "softmax applied twice", ("oracle", "adjoint"), softmax_twice),
    Mistake(cross_entropy, "labels off by one", ("oracle",), labels_moved),
    Mistake(
        cross_entropy,
        "mean forward, sum backward",
        ("adjoint",),
        backward=dx_of_cross_entropy(lambda dy, p, t: dy * (p * total(t) - t)),
    ),
    Mistake(
        cross_entropy,
        "labels taken to sum to 1",
        ("adjoint", "invariants"),
        backward=dx_of_cross_entropy(lambda dy, p, t: dy / len(p) * (p - t)),
    ),
    Mistake(
        cross_entropy,
        "dy ignored",
        ("adjoint", "linear_in_dy"),
        backward=dx_of_cross_entropy(lambda dy, p, t: (0 * dy + 1 / len(p)) * (p * total(t) - t)),
    ),
    Mistake(
        sigmoid_cross_entropy,
        "mean over classes",
        ("oracle",),
        mean_over_classes,
        mean_over_classes_back,
    ),
    Mistake(
        sigmoid_cross_entropy,
        "softmax for sigmoid",
        ("oracle",),
        softmax_for_sigmoid,
        softmax_for_sigmoid_back,
    ),
    Mistake(
        sigmoid_cross_entropy,
        "only the right class",
        ("oracle",),
        only_the_right_class,
        only_the_right_class_back,
    ),
    Mistake(sigmoid_cross_entropy, "exponential that overflows", ("oracle",), overflowing),
    Mistake(
        sigmoid_cross_entropy,
        "slope of the sigmoid in dx",
        ("adjoint",),
        backward=dx_of_sigmoid(lambda dy, s, t: dy / len(t) * (s - t) * s * (1 - s)),
    ),
    Mistake(
        sigmoid_cross_entropy,
        "sum over the batch in dx",
        ("adjoint",),
        backward=dx_of_sigmoid(lambda dy, s, t: dy * (s - t)),
    ),
    Mistake(
        sigmoid_cross_entropy,
        "sign of dx",
        ("adjoint", "invariants"),
        backward=dx_of_sigmoid(lambda dy, s, t: dy / len(t) * (t - s)),
    ),
]
