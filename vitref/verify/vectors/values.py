"""Numbers of the vectors: drawn from names, the same bits everywhere, short enough for 16-bit formats.

An element is an odd number of seven bits times a power of two, so that bfloat16, float16 and float32 hold
it exactly, and never zero or one; only the regime "offset" needs float32. Equal names give equal numbers.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.drawn import uniform, words
from vitref.testing.shapes import Labels, Made, Mask, Resampling, Shape, Size

REGIMES: dict[str, tuple[str, Callable[[HostArray], HostArray]]] = {
    "plain": ("about 1", lambda odd: odd / 64),
    "offset": ("a mean of 1024 and deviations of 1", lambda odd: 1024 + odd / 64),
    "tiny": ("about 1/1024", lambda odd: odd / 2.0**16),
    "large": ("about 32", lambda odd: odd / 2),
    "constant": ("every row one number", lambda odd: _rows(odd)),
}
"""Regime of `vitref.testing` -> what its numbers are, and how they are made of odd numbers below 128."""


def draw(name: str, shape: Shape, regime: str = "plain") -> HostArray:
    return np.asarray(REGIMES[regime][1](_odd(name, shape, 7)))


def draw_setting(name: str, value: Any) -> Any:
    """The array that a drawn setting stands for; anything else as it is.

    Raises TypeError for a kind of array that it does not know.
    """
    if isinstance(value, Mask):
        return (words(0, name, int(np.prod(value.shape, dtype=int))) & 1).astype(float).reshape(value.shape)
    if isinstance(value, Labels):
        return _labels(name, value)
    if isinstance(value, Resampling):
        left = _odd(name, (value.new, value.old - 1), 5) / 32
        return np.concatenate([left, 1 - np.sum(left, axis=1, keepdims=True)], axis=1)
    if isinstance(value, Made):
        raise TypeError(f"a {type(value).__name__} cannot be drawn yet: say how in {__name__}")
    return value


def probabilities(name: str, images: int, classes: int, parts: int) -> HostArray:
    """(images, classes): whole shares of 1 / parts, whose rows sum to exactly 1."""
    cuts = np.sort(words(0, name, images * (classes - 1)).reshape(images, -1).astype(int) % (parts + 1))
    ends = np.concatenate([np.zeros((images, 1)), cuts, np.full((images, 1), parts)], axis=1)
    return np.diff(ends) / parts


def shares(name: str, shape: Shape) -> HostArray:
    """float32 numbers between 0 and 1."""
    return np.asarray((uniform(0, name, shape) + 1) / 2).astype(np.float32).astype(float)


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def size(name: str) -> Size:
    """A source of whole numbers between two bounds, for the shapes of `vitref.testing.shapes`."""
    drawn = iter(words(0, f"{name}, sizes", 64).tolist())

    def between(low: int, high: int) -> int:
        return int(low + next(drawn) % (high - low + 1))

    return between


def _odd(name: str, shape: Shape, bits: int) -> HostArray:
    """Odd whole numbers between -2^bits and 2^bits."""
    count = int(np.prod(shape, dtype=int))
    drawn = words(0, name, count) >> np.uint32(32 - bits)
    return np.asarray(2.0 * drawn + 1 - 2.0**bits).reshape(shape)


def _rows(odd: HostArray) -> HostArray:
    return np.broadcast_to(odd[..., :1] if odd.ndim else odd, odd.shape) / 16


def _labels(name: str, labels: Labels) -> HostArray:
    kind, images, classes = labels
    if kind == "integers":
        return words(0, name, images).astype(np.int64) % classes
    if kind == "probabilities":
        return probabilities(name, images, classes, 64)
    return (_odd(name, (images, classes), 6) + 64) / 128
