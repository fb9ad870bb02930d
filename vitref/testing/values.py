"""Numbers from a seed: the regimes of values, and the layouts in memory in which they are handed over.

Hypothesis draws shapes, regime, layout and seed, never the numbers: so a failure shrinks in shape,
and its numbers stay as rough as they were. (Arrays drawn element by element are mostly one value
repeated, the kindest input a normalisation can meet.)
"""

from collections.abc import Callable

import numpy as np

from vitref.array import Array, HostArray
from vitref.backends.interface import Backend

Random = np.random.Generator

REGIMES: dict[str, Callable[[tuple[int, ...], Random], HostArray]] = {
    "plain": lambda shape, rng: rng.standard_normal(shape),
    "offset": lambda shape, rng: 1000 + rng.standard_normal(shape),
    "tiny": lambda shape, rng: 1e-3 * rng.standard_normal(shape),
    "large": lambda shape, rng: 30 * rng.standard_normal(shape),
    "constant": lambda shape, rng: constant_rows(shape, rng),
}
"""plain; a mean of 1000 deviations; a variance as small as a usual eps; logits that saturate a softmax;
every row (last axis) one whole number, so that its mean is exact."""

FLOATING = "fV"
"""Kinds of dtypes whose arrays hold rounded numbers: NumPy's own, and those of ml_dtypes (bfloat16)."""

LAYOUTS = ("contiguous", "sliced", "transposed")
"""As NumPy makes arrays; every second element of an array with NaN in between; axes in reverse order."""


def constant_rows(shape: tuple[int, ...], rng: Random) -> HostArray:
    row = rng.integers(-4, 5, size=(*shape[:-1], 1)) if shape else rng.integers(-4, 5, size=())
    return np.broadcast_to(row, shape).astype(np.float64)


def draw(shape: tuple[int, ...], regime: str, rng: Random, dtype: str) -> HostArray:
    """An array of this regime, rounded to `dtype`."""
    return np.asarray(REGIMES[regime](shape, rng)).astype(dtype)


def place(array: HostArray, layout: str, backend: Backend) -> Array:
    """A copy of the array on the backend, in this layout."""
    dtype = str(array.dtype)
    if layout == "sliced" and array.ndim:
        wide = np.full([2 * length for length in array.shape], np.nan, array.dtype)
        every_second = (slice(None, None, 2),) * array.ndim
        wide[every_second] = array
        return backend.from_host(wide, dtype)[every_second]
    if layout == "transposed" and array.ndim:
        axes = tuple(reversed(range(array.ndim)))
        reversed_copy = np.array(np.transpose(array), order="C")
        return backend.xp.permute_dims(backend.from_host(reversed_copy, dtype), axes)
    return backend.from_host(array.copy(), dtype)
