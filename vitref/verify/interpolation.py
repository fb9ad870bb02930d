"""Resizing of a position table, place by place: no vitref code.

The oracle resizes with it; and the one mistake that resizes by a factor takes its kernel.

Cubic convolution (Keys 1981) is written as what it is: a Hermite spline through the old values whose
slope at each of them is -a times the difference of its neighbours.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

HostArray = npt.NDArray[Any]

KINDS = {
    "bicubic": (-0.75, "clamp"),
    "bicubic_half": (-0.5, "clamp"),
    "bicubic_antialias": (-0.5, "drop"),
    "bicubic_antialias_sharp": (-0.75, "drop"),
    "bilinear": (None, "clamp"),
    "bilinear_antialias": (None, "drop"),
    "bilinear_corners": (None, "corners"),
}
"""Recipe: slope parameter (None: straight lines), and what becomes of weights outside the table."""


def table(places: HostArray, old: tuple[int, int], new: tuple[int, int], recipe: str) -> HostArray:
    """(R S, D) to (R' S', D)."""
    if old == new:
        return places
    resized = np.zeros((*new, places.shape[1]))
    for i, j in np.ndindex(new):
        for k, row in enumerate(weights(i, old[0], new[0], recipe)):
            for m, column in enumerate(weights(j, old[1], new[1], recipe)):
                resized[i, j] += row * column * places[k * old[1] + m]
    return resized.reshape(-1, places.shape[1])


def weights(i: int, old: int, new: int, recipe: str) -> list[float]:
    """The share of every old place in new place i."""
    slope, border = KINDS[recipe]
    if border == "corners":
        at = i * (old - 1) / (new - 1) if new > 1 else 0.0
    else:
        at = (i + 0.5) * old / new - 0.5
    shares = [0.0] * old
    if border == "drop":
        widened = max(old / new, 1.0)
        shares = [bump((at - j) / widened, slope) for j in range(old)]
        return [share / math.fsum(shares) for share in shares]
    for j in range(-3, old + 3):
        shares[min(max(j, 0), old - 1)] += bump(at - j, slope)
    return shares


def bump(t: float, slope: float | None) -> float:
    """What is interpolated at t between 1 at 0 and 0 at every other whole number."""
    cell = math.floor(t)
    s = t - cell
    before, left, right, after = (float(cell + k == 0) for k in (-1, 0, 1, 2))
    if slope is None:
        return left * (1 - s) + right * s
    rise, fall = -slope * (right - before), -slope * (after - left)
    straight = left * (1 + 2 * s) * (1 - s) ** 2 + right * s**2 * (3 - 2 * s)
    return straight + rise * s * (1 - s) ** 2 + fall * s**2 * (s - 1)
