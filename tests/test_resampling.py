"""The resampling matrices: beside torch and JAX (recorded), Pillow, scipy, and an independent formula."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from scipy import ndimage  # type: ignore[import-untyped]

from vitref.array import HostArray
from vitref.resampling import RECIPES, matrix, neighbours
from vitref.testing import tolerance
from vitref.verify import interpolation

RECORDED = load_file(Path(__file__).parent / "fixtures" / "resampling.safetensors")

RECIPE_OF = {
    "torch bicubic": "bicubic",
    "torch bicubic antialias": "bicubic_antialias",
    "torch bilinear": "bilinear",
    "torch bilinear antialias": "bilinear_antialias",
    "torch bilinear corners": "bilinear_corners",
    "jax cubic antialias": "bicubic_antialias",
    "jax linear antialias": "bilinear_antialias",
}
"""Library and mode, as recorded -> recipe."""

EACH = pytest.mark.parametrize("recipe", RECIPES)
sizes = st.integers(1, 40)


def bound(old: int) -> float:
    """A place is a number up to `old`, and its rounding moves the weights; so do the terms, up to 8 and
    more, that cancel in a cubic near |t| = 2."""
    return tolerance("float64") * (old + 8)


@pytest.mark.parametrize("name", RECORDED)
def test_matrices_are_those_of_torch_and_jax(name: str) -> None:
    mode, old, new = name.rsplit(" ", 2)
    found = matrix(int(old), int(new), RECIPE_OF[mode])
    assert found.shape == RECORDED[name].shape
    assert np.max(np.abs(found - RECORDED[name])) <= bound(int(old))


def test_recordings_go_up_and_down_for_every_mode() -> None:
    directions = {
        (name.rsplit(" ", 2)[0], matrix.shape[0] > matrix.shape[1]) for name, matrix in RECORDED.items()
    }
    assert directions == {(mode, up) for mode in RECIPE_OF for up in (True, False)}


@EACH
@given(old=sizes, new=sizes)
def test_matrices_are_those_of_another_formula(recipe: str, old: int, new: int) -> None:
    expected = [interpolation.weights(i, old, new, recipe) for i in range(new)]
    assert np.max(np.abs(matrix(old, new, recipe) - expected)) <= bound(old)


@pytest.mark.parametrize(
    ("recipe", "kernel"), [("bicubic_antialias", "BICUBIC"), ("bilinear_antialias", "BILINEAR")]
)
@given(old=sizes, new=sizes)
def test_antialiased_matrices_are_those_of_pillow(recipe: str, kernel: str, old: int, new: int) -> None:
    """Pillow resamples unit vectors as one picture of 32-bit floats, axis by axis."""
    units = Image.fromarray(np.eye(old, dtype=np.float32))
    columns = np.asarray(units.resize((old, new), getattr(Image.Resampling, kernel)))
    assert np.max(np.abs(matrix(old, new, recipe) - columns)) <= tolerance("float32")


def zoomed(x: HostArray, new: tuple[int, int]) -> HostArray:
    """As Google's code calls it; `nearest` because the default makes a last place at n - 1 + 1e-16 zero."""
    factors = [after / before for after, before in zip(new, x.shape, strict=True)]
    return np.asarray(ndimage.zoom(x, factors, order=1, mode="nearest"))


@given(rows=sizes, columns=sizes, new=st.tuples(sizes, sizes), seed=st.integers(0, 2**32 - 1))
def test_corners_are_mapped_as_by_scipy(rows: int, columns: int, new: tuple[int, int], seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((rows, columns))
    a, b = matrix(rows, new[0], "bilinear_corners"), matrix(columns, new[1], "bilinear_corners")
    assert np.max(np.abs(a @ x @ b.T - zoomed(x, new))) <= tolerance("float64", 40) * np.max(np.abs(x)) * 40


@pytest.mark.parametrize("recipe", [name for name, kind in RECIPES.items() if not kind.antialias])
@given(old=sizes, new=sizes, data=st.data())
def test_neighbours_are_the_matrix(recipe: str, old: int, new: int, data: st.DataObject) -> None:
    """Of any part of the new positions, and to the bit."""
    first = data.draw(st.integers(0, new))
    kept = slice(first, data.draw(st.integers(first, new)))
    index, weights = neighbours(old, new, recipe, kept)
    made = np.zeros((kept.stop - kept.start, old))
    for i, j in np.ndindex(*index.shape):
        made[i, index[i, j]] += weights[i, j]
    np.testing.assert_array_equal(made, matrix(old, new, recipe)[kept])


def test_neighbours_on_an_axis_too_long_for_a_matrix() -> None:
    index, weights = neighbours(2**32, 4, "bilinear")
    assert index[:, 0].tolist() == [odd * 2**29 - 1 for odd in (1, 3, 5, 7)]
    assert weights.tolist() == [[0.5, 0.5]] * 4
    assert (index[:, 1] == index[:, 0] + 1).all()


@EACH
@given(old=sizes, new=sizes)
def test_rows_sum_to_one(recipe: str, old: int, new: int) -> None:
    """A constant table stays constant."""
    assert np.max(np.abs(matrix(old, new, recipe).sum(axis=1) - 1)) <= bound(old)


@EACH
@given(size=sizes)
def test_equal_sizes_change_nothing(recipe: str, size: int) -> None:
    assert np.max(np.abs(matrix(size, size, recipe) - np.eye(size))) <= tolerance("float64")


@EACH
@given(old=sizes, new=sizes)
def test_both_directions_of_an_axis_are_alike(recipe: str, old: int, new: int) -> None:
    """Except that one place alone, with corners, is the first one, as in torch and scipy."""
    if RECIPES[recipe].corners and new == 1:
        assert matrix(old, new, recipe).tolist() == [[1.0] + [0.0] * (old - 1)]
        return
    found = matrix(old, new, recipe)
    assert np.max(np.abs(found - found[::-1, ::-1])) <= bound(old)


STRAIGHT = [name for name, kind in RECIPES.items() if kind.kernel == "linear" or kind.a == -0.5]


@pytest.mark.parametrize("recipe", STRAIGHT)
@given(old=st.integers(4, 20), by=st.integers(0, 20))
def test_a_ramp_stays_a_ramp_away_from_the_ends(recipe: str, old: int, by: int) -> None:
    """Straight lines and a = -1/2 reproduce straight lines; a = -3/4 does not."""
    new = old + by
    places = (np.arange(new) + 0.5) * old / new - 0.5
    if RECIPES[recipe].corners:
        places = np.linspace(0, old - 1, new)
    inside = (places >= 1) & (places <= old - 2)
    difference = matrix(old, new, recipe) @ np.arange(old) - places
    assert np.max(np.abs(difference[inside])) <= bound(old) * old


@EACH
def test_a_matrix_is_made_once_and_cannot_be_written_to(recipe: str) -> None:
    found = matrix(4, 7, recipe)
    assert found is matrix(4, 7, recipe)
    assert found.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 0


def test_recipes_differ() -> None:
    """Up and down together tell all of them apart; up alone does not tell antialiasing."""
    both = {
        recipe: np.concatenate([matrix(4, 7, recipe).ravel(), matrix(7, 4, recipe).ravel()])
        for recipe in RECIPES
    }
    for a in RECIPES:
        for b in RECIPES:
            assert (np.max(np.abs(both[a] - both[b])) > 1e-3) == (a != b), (a, b)


def test_an_unknown_recipe_is_no_recipe() -> None:
    with pytest.raises(KeyError):
        matrix(4, 7, "lanczos")
