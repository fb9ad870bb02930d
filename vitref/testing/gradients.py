"""Checks a hand-written gradient of a scalar function of named arrays, one array at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.testing.derivative import complex_step, inner


def gradient_errors(
    function: Callable[[Mapping[str, HostArray]], Any],
    point: Mapping[str, HostArray],
    gradient: Mapping[str, HostArray],
    *,
    seed: int,
) -> dict[str, float]:
    """Name -> relative error of that array's gradient along a random direction.

    function  from arrays with the names and shapes of `point` (complex where it is differentiated)
              to a scalar
    point     float64 arrays
    gradient  of `function` at `point`, the same names and shapes

    The derivative along v by complex step is compared with <gradient, v>, and the difference divided
    by sum |gradient v|, the size of the terms before they cancel.

    >>> gradient_errors(lambda p: (p["x"] ** 3).sum(), {"x": np.array([1.0, 2.0])},
    ...                 {"x": np.array([3.0, 12.0])}, seed=0)["x"] < 1e-15
    True
    """
    errors = {}
    for index, (name, array) in enumerate(point.items()):
        direction = np.random.default_rng([seed, index]).standard_normal(array.shape)

        def alone(moved: HostArray, name: str = name) -> Any:
            return function({**point, name: moved})

        along = complex_step(alone, array, direction)
        value, terms = inner(gradient[name], direction)
        errors[name] = float(abs(along - value) / (terms or 1.0))
    return errors
