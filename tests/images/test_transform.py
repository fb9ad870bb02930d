"""Geometry against cases worked out by hand and against bounds that hold for every size; the scale."""

import tracemalloc
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitref.errors import ConfigError, ImageError
from vitref.images.transform import LARGEST, corner, normalise, resize_and_crop, resized_size
from vitref.preprocessing import Preprocessing

Recipe = Callable[..., Preprocessing]
SIDES = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((333, 500), (248, 372)),  # 248 * 500 / 333 = 372.37
        ((500, 333), (372, 248)),
        ((375, 500), (248, 330)),  # 330.67: rounded down, not to 331
        ((500, 375), (330, 248)),
        ((248, 248), (248, 248)),
        ((1, 1), (248, 248)),
        ((248, 249), (248, 249)),
        ((7, 5), (347, 248)),  # 347.2
        ((2, 3), (248, 372)),  # exactly 372
        ((1000, 3), (82666, 248)),
    ],
)
def test_shortest_rounds_the_long_side_down(
    size: tuple[int, int], expected: tuple[int, int], recipe: Recipe
) -> None:
    assert resized_size(size, recipe()) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 100), (200, 200)),  # columns decide: r = 1/2
        ((100, 400), (100, 400)),  # rows decide: r = 1
        ((300, 301), (199, 200)),  # 300 * 200 / 301 = 199.34
        ((303, 301), (201, 200)),  # 201.33
        ((303, 302), (201, 200)),  # 200.66: rounded to the nearest, not down
        ((50, 100), (100, 200)),
        ((128, 160), (160, 200)),  # exactly 160
    ],
)
def test_shortest_covers_a_target_that_is_not_square(
    size: tuple[int, int], expected: tuple[int, int], recipe: Recipe
) -> None:
    assert resized_size(size, recipe(size=(90, 180), resize_to=(100, 200))) == expected


def test_shortest_rounds_halves_to_even_when_not_square(recipe: Recipe) -> None:
    halves = recipe(size=1, resize_to=(4, 2))
    assert [resized_size((8, columns), halves)[1] for columns in (5, 7, 9)] == [2, 4, 4]  # 2.5, 3.5, 4.5


def test_squash_is_exact(recipe: Recipe) -> None:
    assert resized_size((333, 500), recipe(resize="squash", resize_to=(248, 300))) == (248, 300)


@given(height=SIDES, width=SIDES, target=st.integers(1, 600))
def test_shortest_is_the_largest_whole_picture_of_that_short_side(
    height: int, width: int, target: int, recipe: Recipe
) -> None:
    rows, columns = resized_size((height, width), recipe(size=1, resize_to=target))
    assert min(rows, columns) == target
    exact = Fraction(target * max(height, width), min(height, width))
    assert max(rows, columns) <= exact < max(rows, columns) + 1
    assert (rows - columns) * (height - width) >= 0


@given(height=SIDES, width=SIDES, target=st.tuples(st.integers(1, 600), st.integers(1, 600)))
def test_every_resize_covers_its_target(
    height: int, width: int, target: tuple[int, int], recipe: Recipe
) -> None:
    rows, columns = resized_size((height, width), recipe(size=1, resize_to=target))
    assert rows >= target[0]
    assert columns >= target[1]
    assert rows == target[0] or columns == target[1]


@given(height=SIDES, width=SIDES, target=st.tuples(st.integers(1, 600), st.integers(1, 600)))
def test_rows_and_columns_are_treated_alike(
    height: int, width: int, target: tuple[int, int], recipe: Recipe
) -> None:
    size = resized_size((height, width), recipe(size=1, resize_to=target))
    assert resized_size((width, height), recipe(size=1, resize_to=target[::-1])) == size[::-1]


@pytest.mark.parametrize(
    ("spare", "first"), [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (7, 4), (21, 10), (23, 12), (24, 12)]
)
def test_corner_rounds_halves_to_even(spare: int, first: int) -> None:
    assert corner((224 + spare, 300), (224, 300)) == (first, 0)
    assert corner((300, 224 + spare), (300, 224)) == (0, first)


@given(size=st.tuples(SIDES, SIDES), data=st.data())
def test_corner_leaves_the_same_on_both_sides(size: tuple[int, int], data: st.DataObject) -> None:
    crop = tuple(data.draw(st.integers(1, side)) for side in size)
    for side, first, length in zip(size, corner(size, (crop[0], crop[1])), crop, strict=True):
        assert first >= 0
        assert abs((side - length - first) - first) <= 1


def test_crop_is_cut_from_rows_and_columns_as_numbered(recipe: Recipe) -> None:
    rows, columns = np.mgrid[0:7, 0:12].astype(np.uint8)
    picture = Image.fromarray(np.stack([rows, columns, rows + columns], axis=-1))
    cut = resize_and_crop(picture, "image", recipe(size=(4, 5), resize="squash", resize_to=(7, 12)))
    assert cut.shape == (4, 5, 3)
    assert cut[:, 0, 0].tolist() == [2, 3, 4, 5]  # 3 spare rows: 1.5 rounds to 2
    assert cut[0, :, 1].tolist() == [4, 5, 6, 7, 8]  # 7 spare columns: 3.5 rounds to 4


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_filter_is_the_recipes(interpolation: str, photo: Image.Image, recipe: Recipe) -> None:
    same = recipe(size=(4, 4), resize="squash", resize_to=(4, 4), interpolation=interpolation)
    expected = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}[
        interpolation
    ]  # Pillow's own numbers
    resized = photo.resize((4, 4), Image.Resampling(expected))
    np.testing.assert_array_equal(resize_and_crop(photo, "image", same), np.asarray(resized))


def test_bilinear_antialiases(recipe: Recipe) -> None:
    """Halving: each result is the mean over a triangle of weights 1 3 3 1, not of the two pixels nearest."""
    row = np.array([[0, 80, 240, 0, 0, 160, 0, 80]], np.uint8)
    grey = recipe(size=(1, 4), channels=1, resize="squash", resize_to=(1, 4), interpolation="bilinear")
    cut = resize_and_crop(Image.fromarray(row), "image", grey)
    # edges renormalise: (3 * 0 + 3 * 80 + 240) / 7; inside: (80 + 3 * 240 + 3 * 0 + 0) / 8, ...
    assert cut[0, :, 0].tolist() == [69, 100, 60, 57]


def lerped(row: list[int], place: Fraction) -> Fraction:
    """Linear interpolation between the two pixels around `place`; beyond the last, the last."""
    inside = min(max(place, Fraction(0)), Fraction(len(row) - 1))
    left = int(inside)
    right = min(left + 1, len(row) - 1)
    return row[left] + (inside - left) * (row[right] - row[left])


@given(
    row=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    new=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
)
def test_tensorflows_bilinear_lerps_between_two_pixels(
    row: list[int], new: int, channels: int, recipe: Recipe
) -> None:
    """Pixel i of n lies at (i + 1/2) N / n - 1/2, exactly, along either axis; nothing is rounded."""
    exact = [
        lerped(row, Fraction(2 * i + 1, 2) * Fraction(len(row), new) - Fraction(1, 2)) for i in range(new)
    ]
    # the place is rounded three times, relative to at most N, and a pixel changes by at most 255 to the next
    bound = 255 * 4 * len(row) * np.finfo(float).eps
    wide = np.array([row] * 2, np.uint8)
    given = {"channels": channels, "interpolation": "bilinear_tf", "resize": "squash"}
    for turned in (False, True):
        size = (new, 2) if turned else (2, new)
        picture = Image.fromarray(wide.T if turned else wide).convert("RGB" if channels == 3 else "L")
        cut = resize_and_crop(picture, "image", recipe(size=size, resize_to=size, **given))
        assert (cut.shape, cut.dtype.name) == ((*size, channels), "float64")
        lines = cut.swapaxes(0, 1) if turned else cut
        assert np.abs(lines - np.array(exact, np.float64)[:, None]).max() <= bound


def test_tensorflows_bilinear_is_cut_like_the_others(photo: Image.Image, recipe: Recipe) -> None:
    given = {"resize": "squash", "resize_to": (11, 7), "interpolation": "bilinear_tf"}
    whole = resize_and_crop(photo, "image", recipe(size=(11, 7), **given))
    cut = resize_and_crop(photo, "image", recipe(size=(5, 4), **given))
    np.testing.assert_allclose(cut, whole[3:8, 2:6], rtol=0, atol=255 * 4 * np.finfo(float).eps)


@pytest.mark.parametrize("resize_to", [(223, 248), (248, 223)])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_padding_is_refused(
    resize: str, resize_to: tuple[int, int], photo: Image.Image, recipe: Recipe
) -> None:
    with pytest.raises(ConfigError, match="nothing is padded"):
        resize_and_crop(photo, "image", recipe(resize=resize, resize_to=resize_to))


def test_elongated_picture_is_refused_before_it_fills_the_memory(recipe: Recipe) -> None:
    narrow = Image.new("RGB", (1, 5000))
    with pytest.raises(ImageError, match=f"after the resize 1240000 by 248.*at most {LARGEST} pixels"):
        resize_and_crop(narrow, "strip.png", recipe())


ENDLESS = 40_000_000
"""Pixels in a line, within Pillow's own limit."""


@pytest.mark.parametrize("size", [(ENDLESS, 1), (1, ENDLESS)], ids=["wide", "tall"])
def test_tensorflows_bilinear_needs_as_much_memory_as_the_picture(
    size: tuple[int, int], recipe: Recipe
) -> None:
    """NumPy's and Python's memory, of which Pillow takes four bytes for a pixel of the longest row; a matrix
    of the long axis would have 9 * 10^9 numbers."""
    picture = Image.new("L", size, 7)
    given = {"channels": 1, "interpolation": "bilinear_tf", "resize": "squash", "resize_to": 224}
    tracemalloc.start()
    cut = resize_and_crop(picture, "image", recipe(**given))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cut.shape == (224, 224, 1)
    assert np.abs(cut - 7).max() < 1e-12
    assert used < 5 * ENDLESS


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_pillow_is_not_asked_for_more_than_it_may_hold(interpolation: str, recipe: Recipe) -> None:
    """It resizes the columns of all rows first: here to 224 columns of 400,000 rows."""
    given = {"resize": "squash", "resize_to": 224, "interpolation": interpolation}
    with pytest.raises(ImageError, match=f"between its axes {400_000 * 224} pixels.*at most {LARGEST}"):
        resize_and_crop(Image.new("RGB", (1, 400_000)), "strip.png", recipe(**given))
    wide = resize_and_crop(Image.new("RGB", (400_000, 1)), "strip.png", recipe(**given))
    assert wide.shape == (224, 224, 3)


def test_normalise_scales_then_moves_the_channels_first(recipe: Recipe) -> None:
    crops = np.random.default_rng(3).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    before = crops.copy()
    scaled = normalise(crops, recipe(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    assert scaled.dtype == np.float64
    assert scaled.shape == (2, 3, 3, 4)
    assert scaled.flags.c_contiguous
    assert scaled[1, 0, 2, 3] == (crops[1, 2, 3, 0] / 255 - 0.485) / 0.229
    assert scaled[0, 2, 1, 0] == (crops[0, 1, 0, 2] / 255 - 0.406) / 0.225
    np.testing.assert_array_equal(crops, before)


def test_normalise_is_exact_to_half_a_unit_for_every_value(recipe: Recipe) -> None:
    crops = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)
    scaled = normalise(crops, recipe(channels=1)).ravel()
    exact = [Fraction(2 * value - 255, 255) for value in range(256)]
    worst = max(abs(Fraction(float(x)) - y) for x, y in zip(scaled, exact, strict=True))
    assert worst <= np.finfo(np.float64).eps / 2  # the rounding of value / 255, doubled; the rest is exact
    assert (scaled[0], scaled[255]) == (-1.0, 1.0)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, 2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((1, 3, 2, 2), np.uint8),
        [[[[1, 2, 3]]]],
    ],
)
def test_normalise_refuses_what_is_no_crop(crops: object, recipe: Recipe) -> None:
    with pytest.raises(ImageError, match=r"expected a uint8 or float64 array \(N, H, W, 3\)"):
        normalise(crops, recipe())  # type: ignore[arg-type]
