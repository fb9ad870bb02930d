"""The position table of a model brought to another grid, as the graph itself would resize it."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref import config, preprocessing, resampling
from vitref.components import resized_position_embedding
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights.source import Source

_RECIPE = preprocessing.FIELDS - config.FIELDS


def table(stored: npt.NDArray[Any], old: Config, new: Config) -> npt.NDArray[Any]:
    """The table (1, prefix + R S, D) for `new.position_grid`: resized in float64, in the dtype of `stored`.

    Raises ConfigError when the grids differ and `old.position_resize` does not say how to resize.
    """
    if old.position_grid == new.position_grid:
        return stored
    if not old.position_resize:
        raise ConfigError(
            "Config.position_resize",
            found=f"no recipe to resize the position table from {old.position_grid} to {new.position_grid}",
            expected=f"one of {', '.join(resampling.RECIPES)}",
            remedy="Load with position_resize= or convention=.",
        )
    rows, columns = (
        resampling.matrix(before, after, old.position_resize)
        for before, after in zip(old.position_grid, new.position_grid, strict=True)
    )
    resized = resized_position_embedding.resize(
        stored.astype(np.float64), rows=rows, columns=columns, prefix=old.position_prefix
    )
    array: npt.NDArray[Any] = resized.astype(stored.dtype)
    return array


def recipe(of: Preprocessing | None, source: Source, size: tuple[int, int]) -> Preprocessing | None:
    """The preprocessing for pictures of another size, as `load(..., image_size=size)` makes it; None where
    it has a crop of which the rule is not known."""
    if of is None or of.size == size:
        return of
    crop = preprocessing.crop_pct(of, source.crop_pct)
    return None if crop is None else preprocessing.rescaled(of, size, crop)


def source(of: Source, old: Config, new: Config, recipe: Preprocessing | None) -> Source:
    """Where the resized weights came from."""
    change = f"Weights.resized from {_text(old.image_size)} to {_text(new.image_size)}"
    provenance = {**of.provenance, "image_size": change}
    if old.image_size != new.image_size and recipe is None:
        provenance = {name: text for name, text in provenance.items() if name not in _RECIPE}
        provenance["preprocessing"] = f"none: it was for pictures of {_text(old.image_size)}"
    elif old.image_size != new.image_size and recipe is not None:
        crop = preprocessing.crop_pct(recipe, of.crop_pct)
        provenance |= {"size": change, "resize_to": f"{change}, over crop_pct {crop}"}
    if old.position_grid != new.position_grid:
        provenance |= {"position_grid": change, "pos_embed": f"{change}, {old.position_resize}"}
    return dataclasses.replace(of, provenance=provenance)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
