"""The resampling matrix of code that passes a scale factor of (n + 0.1) / m instead of the size n.

What DINO and DINOv2 do to keep floor((n + 0.1) / m * m) at n; ports that resize to the size differ.
"""

import numpy as np

from vitref.array import HostArray
from vitref.resampling import RECIPES
from vitref.verify.interpolation import bump


def matrix(old: int, new: int, recipe: str) -> HostArray:
    """As `vitref.resampling.matrix`, with steps of old / (new + 0.1); without antialias and corners."""
    kind, weights = RECIPES[recipe], np.zeros((new, old))
    slope = kind.a if kind.kernel == "cubic" else None
    for i in range(new):
        place = (i + 0.5) * old / (new + 0.1) - 0.5
        for j in range(-3, old + 3):
            weights[i, min(max(j, 0), old - 1)] += bump(place - j, slope)
    return weights
