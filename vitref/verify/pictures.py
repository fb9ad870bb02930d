"""A second way from a picture to the array of a model: resampling as two matrix products, no Pillow."""

import numpy as np

from vitref import resampling
from vitref.array import HostArray
from vitref.verify.mistakes import Case


def holds(image: HostArray, case: Case) -> bool:
    """Whether `image` is the case's picture preprocessed, to one of 255 grey levels.

    Pillow rounds to grey levels after each of its two passes: half a level each, and what the second
    pass makes of the first one's half.
    """
    recipe = case.weights.preprocessing
    if recipe is None:
        return True
    (height, width), (rows, columns) = case.image.shape[1:3], recipe.size
    scale = min(recipe.resize_to) / min(height, width)
    kept = int(scale * height + 1e-9), int(scale * width + 1e-9)
    new = recipe.resize_to if recipe.resize == "squash" else kept
    kernel = f"{recipe.interpolation}_antialias"
    vertical, horizontal = resampling.matrix(height, new[0], kernel), resampling.matrix(width, new[1], kernel)
    levels = np.einsum("ih,nhwc,jw->nijc", vertical, case.image.astype(np.float64), horizontal).clip(0, 255)
    top, left = round((new[0] - rows) / 2), round((new[1] - columns) / 2)
    right = (levels[:, top : top + rows, left : left + columns] / 255 - recipe.mean) / recipe.std
    level = 1.5 / 255 / min(recipe.std)
    return image.shape == (len(levels), recipe.channels, rows, columns) and bool(
        np.all(np.abs(image - np.moveaxis(right, 3, 1)) <= level)
    )
