"""The vectors of preprocessing: pictures in, the array of a model out, by several libraries' recipes."""

from collections.abc import Iterator

import numpy as np

from vitref import drawn, images
from vitref.array import HostArray
from vitref.preprocessing import Preprocessing
from vitref.testing.tolerance import ROUNDING
from vitref.verify import probes
from vitref.verify.mistakes import CATALOGUE, Mistake
from vitref.verify.vectors import values
from vitref.verify.vectors.tolerances import difference, rounded_up
from vitref.verify.vectors.vector import Group, Vector

SIZE = (8, 7)
"""Rows and columns of what comes out."""

LEVELS = 1.5
"""Allowed, of 255: both passes of a resize may round to whole levels, and the second mixes the first."""

RECIPES: dict[str, Preprocessing] = {
    "the shorter edge to 10, then the middle, three means and deviations": probes.RECIPE,
    **{
        f"as {name} does, unless a checkpoint says otherwise": Preprocessing.convention(name, size=SIZE)
        for name in ("timm", "huggingface", "google")
    },
}

PICTURES = {"reduced": (23, 31, 32, 223), "enlarged": (5, 6, 64, 191)}
"""What happens to a picture -> its rows and columns, its lowest and highest byte. A cubic filter overshoots
by less than what is left to 0 and 255, so that it does not matter whether one cuts off after each pass."""


def group() -> Group:
    about = {
        "what": "From a picture (N, rows, columns, RGB) of bytes to the array (N, C, H, W) of a model.",
        "source": "Pillow 12, Image.resize; the recipes of timm, transformers and vit_jax.",
    }
    return Group("pixels", "preprocess", about, tuple(_vectors()))


def _vectors() -> Iterator[Vector]:
    for what, recipe in RECIPES.items():
        for name, (rows, columns, low, high) in PICTURES.items():
            shape = (2, rows, columns, 3)
            words = drawn.words(values.seed_of(what), name, int(np.prod(shape)))
            picture = (low + words % np.uint32(high - low + 1)).astype(np.uint8).reshape(shape)
            image = images.preprocess(picture, recipe)
            level = rounded_up(LEVELS / 255 / min(recipe.std))
            yield Vector(
                "valid",
                f"{name}, {what}",
                {"preprocessing": recipe.to_dict()},
                {"picture": picture},
                {"image": image},
                tolerances={"image": dict.fromkeys(ROUNDING, level)},
                flags=dict(_flags(picture, recipe, image, level)),
            )


def _flags(
    picture: HostArray, recipe: Preprocessing, image: HostArray, level: float
) -> Iterator[tuple[str, str]]:
    for mistake in CATALOGUE.values():
        if mistake.pixels and not _error(mistake, picture, recipe, image) <= level:
            yield mistake.name, max(ROUNDING, key=lambda name: ROUNDING[name])


def _error(mistake: Mistake, picture: HostArray, recipe: Preprocessing, image: HostArray) -> float:
    """How far a wrong preprocessing is off; 0 where the mistake does not exist for this recipe."""
    assert mistake.pixels is not None
    try:
        return difference(mistake.pixels(picture, recipe, *mistake.constant()), image)
    except KeyError:
        return 0.0
