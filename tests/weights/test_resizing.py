"""Weights for another image size: the table is what the graph itself would make of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import vitref
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.resampling import RECIPES
from vitref.testing import tolerance
from vitref.weights import Weights, load


def with_recipe(weights: Weights, recipe: str) -> Weights:
    config = Config(**{**weights.config.to_dict(), "position_resize": recipe})
    return Weights(dict(weights), config, preprocessing=weights.preprocessing, source=weights.source)


@pytest.mark.parametrize("kind", list(RECIPES))
def test_resized_weights_give_what_the_graph_gives(weights: Weights, kind: str) -> None:
    wide = with_recipe(weights.to(dtype="float64"), kind)
    resized = wide.resized((20, 9))
    assert (resized.config.position_grid, resized.config.image_size) == ((5, 3), (20, 9))
    assert resized["pos_embed"].shape == (1, 16, 12)
    config = Config(**{**wide.config.to_dict(), "image_size": (20, 9)})
    running = Weights(dict(wide), config)
    image = np.random.default_rng(1).normal(size=(2, 3, 20, 9))
    expected = vitref.forward(running, image, dtype="float64")
    found = vitref.forward(resized, image, dtype="float64")
    assert np.linalg.norm(found - expected) <= tolerance("float64", 1000) * np.linalg.norm(expected)


def test_a_known_resize(weights: Weights) -> None:
    """Aligned corners keep the corners; a table of 3 x 4 at 5 x 4 has the old rows at 0, 2 and 4."""
    old = weights["pos_embed"]
    new = with_recipe(weights, "bilinear_corners").resized((20, 12))["pos_embed"]
    assert (new.shape, new.dtype) == ((1, 21, 12), old.dtype)
    assert np.array_equal(new[0, 0], old[0, 0])
    before, after = old[0, 1:].reshape(3, 4, 12), new[0, 1:].reshape(5, 4, 12)
    assert np.array_equal(after[::2], before)
    bound = tolerance("float32")
    np.testing.assert_allclose(after[1], (before[0] + before[1]) / 2, rtol=bound, atol=bound)


def test_all_else_stays(weights: Weights) -> None:
    resized = with_recipe(weights, "bicubic").resized(24)
    assert resized.config.image_size == (24, 24)
    assert all(resized[name] is weights[name] for name in weights if name != "pos_embed")
    assert resized.preprocessing is None
    change = "Weights.resized from 12 x 12 to 24 x 24"
    assert resized.source.provenance["image_size"] == change
    assert resized.source.provenance["pos_embed"] == f"{change}, bicubic"
    assert resized.source.provenance["preprocessing"] == "none: it was for pictures of 12 x 12"


def test_the_preprocessing_is_that_of_loading_at_the_other_size(weights: Weights, tmp_path: Path) -> None:
    recipe = Preprocessing.convention("timm", size=(12, 12))
    known = with_recipe(weights, "bicubic")
    source = dataclasses.replace(known.source, crop_pct=0.9)
    Weights(dict(known), known.config, preprocessing=recipe, source=source).save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    resized = loaded.resized((24, 28))
    assert resized.preprocessing == load(tmp_path / "m.safetensors", image_size=(24, 28)).preprocessing
    assert resized.preprocessing == Preprocessing.convention("timm", size=(24, 28))
    assert resized.source.provenance["resize_to"].endswith("to 24 x 28, over crop_pct 0.9")
    resized.save(tmp_path / "r.safetensors")
    assert load(tmp_path / "r.safetensors").resized(12).preprocessing == recipe


def test_the_same_grid_needs_no_recipe(weights: Weights) -> None:
    assert not weights.config.position_resize
    same = weights.resized((12, 12))
    assert same["pos_embed"] is weights["pos_embed"]
    assert same.preprocessing == weights.preprocessing
    assert weights.resized((13, 14))["pos_embed"] is weights["pos_embed"]


def test_without_recipe(weights: Weights) -> None:
    with pytest.raises(ConfigError) as caught:
        weights.resized(24)
    assert caught.value.where == "Config.position_resize"


@pytest.mark.parametrize("kind", list(RECIPES))
@pytest.mark.parametrize("size", [2**30, (2**30, 12), (12, 2**30)])
def test_a_size_whose_table_no_memory_holds(weights: Weights, size: object, kind: str) -> None:
    with pytest.raises(ConfigError, match="1073741824") as caught:
        with_recipe(weights, kind).resized(size)  # type: ignore[arg-type]
    assert caught.value.where == "Config.image_size"


@pytest.mark.parametrize("size", [0, (24,), "24", (2, 24), None, 2.5])
def test_a_wrong_size(weights: Weights, size: object) -> None:
    with pytest.raises(ConfigError) as caught:
        with_recipe(weights, "bicubic").resized(size)  # type: ignore[arg-type]
    assert caught.value.where == "Config.image_size"


def test_a_table_without_class_row(config: Config) -> None:
    values = {**config.to_dict(), "class_position": False, "position_resize": "bilinear"}
    made = Config(**values)
    rng = np.random.default_rng(2)
    weights = Weights({n: rng.normal(size=s) for n, s in made.parameter_shapes().items()}, made)
    assert weights.resized(24)["pos_embed"].shape == (1, 6 * 8, 12)


def test_resized_weights_are_saved_and_loaded(weights: Weights, tmp_path: Path) -> None:
    resized = with_recipe(weights, "bicubic_antialias").resized((8, 9))
    resized.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.config == resized.config
    assert np.array_equal(again["pos_embed"], resized["pos_embed"])
    assert again.source.provenance["image_size"].endswith("Weights.resized from 12 x 12 to 8 x 9")
