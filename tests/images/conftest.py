"""Recipes and small pictures that the tests of images share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitref.preprocessing import Preprocessing

Recipe = Callable[..., Preprocessing]


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Makes a Preprocessing: timm's for 224 by 224 pixels, except for the fields given."""

    def make(**given: Any) -> Preprocessing:
        timm: dict[str, Any] = {
            "size": 224,
            "channels": 3,
            "resize": "shortest",
            "resize_to": 248,
            "interpolation": "bicubic",
            "mean": 0.5,
            "std": 0.5,
        }
        return Preprocessing(**(timm | given))

    return make


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """An RGB picture of 6 rows and 9 columns in which no two pixels and no two channels are alike."""
    pixels = np.random.default_rng(1).permutation(162).astype(np.uint8).reshape(6, 9, 3)
    return Image.fromarray(pixels)
