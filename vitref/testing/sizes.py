"""How large a rounding error may become: the size of the terms behind every output and gradient.

Rounding acts like a small relative change of the inputs, and of the saved values by as much as that
changes them. What such changes do to a result is measured, not estimated: by complex step, along
random changes of every element at once.
An ill-conditioned case (a mean of a hundred deviations, a variance near eps) so gets the larger
bound that it needs, and every other case keeps the small one.
"""

from typing import Any, NamedTuple

import numpy as np

from vitref.array import NUMPY, HostArray
from vitref.run import Part
from vitref.testing.derivative import complex_step, random_like
from vitref.testing.structure import apply

PROBES = 4


class Sizes(NamedTuple):
    """In the structure of y and of the gradients: one number for each array."""

    y: Any
    grads: Any


def sizes(part: Part, args: Any, dy: Any, static: dict[str, Any], rng: np.random.Generator) -> Sizes:
    """The largest element of each result of `part` (NumPy, float64), and of its change with rounding."""

    def passes(point: Any) -> tuple[Any, Any, Any]:
        y, saved = part.forward(*point[0], **static, xp=NUMPY)
        return y, apply(lambda x: x + 0j, saved), tuple(part.backward(point[1], saved, xp=NUMPY))

    def back(point: Any) -> Any:
        return tuple(part.backward(point[0], point[1], xp=NUMPY))

    y, saved = part.forward(*args, **static, xp=NUMPY)
    size = apply(_largest, (y, back((dy, saved))))
    for _ in range(PROBES):
        rounded = apply(_random, (args, dy), random_like((args, dy), rng))
        moved_y, moved_saved, moved_grads = complex_step(passes, (args, dy), rounded)
        inexact = apply(lambda x, moved: np.abs(x) + np.abs(moved), saved, moved_saved)
        rounded = apply(_random, (dy, inexact), random_like((dy, saved), rng))
        further = complex_step(back, (dy, saved), rounded)
        for found in ((moved_y, moved_grads), (moved_y, further)):
            size = apply(np.maximum, size, apply(_largest, found))
    return Sizes(*size)


def _random(x: HostArray, normal: HostArray) -> HostArray:
    """A change of random sign and about the size of `x`, element by element."""
    return np.asarray(x * normal)


def _largest(x: HostArray) -> HostArray:
    return np.asarray(np.max(np.abs(x)))
