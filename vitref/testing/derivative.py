r"""Derivatives by complex step, and the adjoint test of a hand-written gradient. NumPy, float64.

For a function that is analytic and real on the real axis, f(x + ih v) = f(x) + ih J v - h^2/2 (...) - ...,
so J v = Im f(x + ih v) / h up to h^2. Nothing is subtracted, so h may be so small (1e-30) that h^2
is lost in rounding: the derivative is as exact as the function itself, where finite differences keep
half of the digits at best. Source: Squire, Trapp 1998, doi:10.1137/S003614459631241X; Martins,
Sturdza, Alonso 2003, doi:10.1145/838250.838251.

The function may call nothing that drops the imaginary part (`abs`, `var`, `norm`, a cast to float):
such a function gives a wrong derivative. Where that leaves a real result, it is refused.

A backward pass computes J^T dy. It is right exactly when <dy, J v> = <J^T dy, v> for all dy and v; a
random pair shows every mistake but those of probability zero, at the cost of one call. Neither dy nor
v is ever all ones: the gradients of softmax and of normalisation are orthogonal to them.

>>> import numpy as np
>>> x, v, dy = np.array([1.0, 2.0]), np.array([1.0, -1.0]), np.array([3.0, 5.0])
>>> complex_step(lambda x: x * x * x, x, v)                     # 3 x^2 v
array([  3., -12.])
>>> adjoint_error(lambda x: x * x * x, x, v, dy, 3 * x * x * dy)
0.0
>>> adjoint_error(lambda x: x * x * x, x, v, dy, 2 * x * x * dy) > 0.1       # a wrong gradient
True
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.testing.structure import apply, arrays

STEP = 1e-30


def complex_step(function: Callable[[Any], Any], point: Any, direction: Any) -> Any:
    """J v: how `function(point)` changes in this direction.

    `point` and `direction` are float64 arrays, or tuples or dictionaries of them, alike in structure
    and shapes; what the function gives is an array or such a structure, and so is the result. What
    is no array (None, a name, a Python number) is passed on as it is.
    Raises TypeError when `point` is not float64 or the function gives a real array or none, and
    ValueError when a direction has not the shape of its point.

    >>> import numpy as np
    >>> point = {"a": np.array([2.0]), "b": np.array([3.0])}
    >>> complex_step(lambda p: (p["a"] * p["b"],), point, {"a": np.array([1.0]), "b": np.array([10.0])})
    (array([23.]),)
    """
    y = function(apply(_moved, point, direction))
    if next(arrays(y), None) is None:
        raise TypeError(f"the function gives {type(y).__name__}, expected an array")
    return apply(_slope, y)


def adjoint_error(
    function: Callable[[Any], Any], point: Any, direction: Any, cotangent: Any, gradient: Any
) -> float:
    """How far <dy, J v> and <J^T dy, v> lie apart, relative to their terms before they cancel.

    `direction` is v and `gradient`, the result of the backward pass under test, is J^T dy: both have
    the structure of `point`. `cotangent` is dy, with the structure of what the function gives.
    About machine epsilon (2e-16) for a right gradient.
    """
    forward = inner(cotangent, complex_step(function, point, direction))
    backward = inner(gradient, direction)
    terms = forward.terms + backward.terms
    return abs(forward.value - backward.value) / terms if terms else 0.0


class Inner(NamedTuple):
    """An inner product, and the sum of the absolute values of its terms."""

    value: float
    terms: float


def inner(a: Any, b: Any) -> Inner:
    """<a, b> over all arrays of two structures that are alike.

    >>> import numpy as np
    >>> inner(np.array([1.0, 2.0]), np.array([3.0, -1.0]))
    Inner(value=1.0, terms=5.0)
    """
    products = list(arrays(apply(lambda x, y: x * y, a, b)))
    return Inner(sum(float(np.sum(p)) for p in products), sum(float(np.sum(np.abs(p))) for p in products))


def random_like(value: Any, rng: np.random.Generator) -> Any:
    """Standard normal float64 numbers in the structure and shapes of `value`."""
    return apply(lambda x: np.asarray(rng.standard_normal(x.shape)), value)


def _moved(x: HostArray, v: HostArray) -> HostArray:
    if x.dtype != np.float64:
        raise TypeError(f"the point is {x.dtype}, expected float64")
    if x.shape != v.shape:
        raise ValueError(f"the direction has shape {v.shape}, expected that of the point, {x.shape}")
    return np.asarray(x + 1j * (STEP * v))


def _slope(y: HostArray) -> HostArray:
    if not np.iscomplexobj(y):
        raise TypeError("the function gives a real result: it drops the imaginary part on its way")
    return np.asarray(y.imag / STEP)
