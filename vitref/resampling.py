"""Resampling along one axis, as a matrix: the recipes by which official sources resize position tables.

A table of R x C positions is resized to R' x C' as R_h P R_w^T, with one matrix per axis; row i of a
matrix holds the weights of the old positions in new position i, and sums to 1. All recipes but the
last put pixel centres at half-integers: new position i lies at (i + 1/2) n / m - 1/2 on the old axis.

Sources: torch/csrc aten UpSample kernels (cubic with a = -0.75, clamped at the border; antialiased
with a = -0.5, weights outside dropped and the rest normalised); Pillow and jax.image.resize use
a = -0.5; scipy.ndimage.zoom(order=1), which Google's code calls, maps the corners onto each other.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Recipe(NamedTuple):
    """kernel: "cubic" or "linear"; a: the cubic's parameter; antialias: widened when it reduces;
    corners: the first and last positions are mapped onto each other."""

    kernel: str
    a: float = 0.0
    antialias: bool = False
    corners: bool = False


RECIPES = {
    "bicubic": Recipe("cubic", a=-0.75),
    "bicubic_half": Recipe("cubic", a=-0.5),
    "bicubic_antialias": Recipe("cubic", a=-0.5, antialias=True),
    "bicubic_antialias_sharp": Recipe("cubic", a=-0.75, antialias=True),
    "bilinear": Recipe("linear"),
    "bilinear_antialias": Recipe("linear", antialias=True),
    "bilinear_corners": Recipe("linear", corners=True),
}
"""Name, as in `Config.position_resize` -> recipe. transformers: "bicubic"; timm: "bicubic_antialias";
Google: "bilinear_corners"."""


@lru_cache(maxsize=32)
def matrix(old: int, new: int, recipe: str) -> npt.NDArray[np.float64]:
    """The matrix (new, old) that resamples an axis of `old` positions to `new`, float64.

    >>> matrix(2, 4, "bilinear").tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    >>> matrix(2, 3, "bilinear_corners").tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    kind = RECIPES[recipe]
    if kind.antialias:
        weights = _antialiased(_places(old, new, kind), old, max(old / new, 1.0), kind)
    else:
        weights = np.zeros((new, old))
        index, parts = neighbours(old, new, recipe)
        np.add.at(weights, (np.arange(new)[:, None], index), parts)
    weights.flags.writeable = False
    return weights


def neighbours(
    old: int, new: int, recipe: str, kept: slice = slice(None)
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The old positions that the `kept` new positions are made of, and their weights, each (kept, 2) for a
    linear and (kept, 4) for a cubic kernel, float64; for recipes that do not antialias.

    Weights that fall outside belong to the nearest old position, which then is named twice.

    >>> index, weights = neighbours(2, 4, "bilinear")
    >>> index.tolist(), weights.tolist()
    ([[0, 0], [0, 1], [0, 1], [1, 1]], [[0.25, 0.75], [0.75, 0.25], [0.25, 0.75], [0.75, 0.25]])
    """
    kind = RECIPES[recipe]
    reach, kernel = _reach(kind), _kernel(kind)
    places = _places(old, new, kind)[kept]
    first = np.floor(places).astype(np.int64) - reach + 1
    index = first[:, None] + np.arange(2 * reach)
    weights = [[kernel(place - j) for j in row] for place, row in zip(places, index, strict=True)]
    return np.clip(index, 0, old - 1), np.array(weights).reshape(index.shape)


def _places(old: int, new: int, kind: Recipe) -> npt.NDArray[np.float64]:
    """Where the new positions lie on the old axis."""
    index = np.arange(new, dtype=np.float64)
    if kind.corners:
        return index * ((old - 1) / (new - 1) if new > 1 else 0.0)
    return (index + 0.5) * (old / new) - 0.5


def _antialiased(
    places: npt.NDArray[np.float64], old: int, widen: float, kind: Recipe
) -> npt.NDArray[np.float64]:
    """Weights that fall outside are dropped, and each row is normalised."""
    kernel = _kernel(kind)
    weights = np.array([[kernel((place - j) / widen) for j in range(old)] for place in places])
    normalised: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _reach(kind: Recipe) -> int:
    return 2 if kind.kernel == "cubic" else 1


def _kernel(kind: Recipe) -> Callable[[float], float]:
    """Keys 1981, doi:10.1109/TASSP.1981.1163711, with parameter a; or the triangle."""

    def cubic(t: float) -> float:
        t, a = abs(t), kind.a
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    def triangle(t: float) -> float:
        return max(0.0, 1 - abs(t))

    return cubic if kind.kernel == "cubic" else triangle
