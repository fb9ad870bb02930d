"""Crops and preprocessed batches, against recorded crops of real photographs; the rule for `image`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from PIL import Image, ImageOps

from vitref import images
from vitref.errors import ConfigError, ImageError
from vitref.preprocessing import Preprocessing

Recipe = Callable[..., Preprocessing]


def test_crops_of_real_photographs_are_bit_identical(test_data: Path, recipe: Recipe) -> None:
    rows = json.loads((test_data / "labels.json").read_text())
    paths = [test_data / "images" / row["file"] for row in rows]
    recorded = np.load(test_data / "crops_uint8.npy")
    crops = images.crop(paths, recipe())
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, recorded)


def test_preprocess_is_normalise_of_crop(photo: Image.Image, recipe: Recipe) -> None:
    small = recipe(size=(5, 7), resize_to=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    result = images.preprocess([photo, photo], small)
    assert (result.shape, result.dtype.name) == ((2, 3, 5, 7), "float64")
    crops = images.crop([photo, photo], small)
    assert (crops.shape, crops.dtype.name) == ((2, 5, 7, 3), "uint8")
    np.testing.assert_array_equal(result, images.normalise(crops, small))


def test_same_picture_by_path_image_and_array(photo: Image.Image, tmp_path: Path, recipe: Recipe) -> None:
    photo.save(tmp_path / "photo.png")
    pixels = np.asarray(photo)
    one = images.preprocess(photo, recipe())
    assert one.shape == (1, 3, 224, 224)
    for same in (tmp_path / "photo.png", str(tmp_path / "photo.png"), pixels, pixels[None], [photo]):
        np.testing.assert_array_equal(images.preprocess(same, recipe()), one)


def test_one_channel(photo: Image.Image, recipe: Recipe) -> None:
    grey = recipe(channels=1, size=(4, 6), resize_to=(6, 9))
    result = images.preprocess([photo, np.asarray(photo.convert("L"))], grey)
    assert result.shape == (2, 1, 4, 6)
    np.testing.assert_array_equal(result[0], result[1])
    np.testing.assert_array_equal(result[0, 0], (np.asarray(photo.convert("L"))[1:5, 2:8] / 255 - 0.5) / 0.5)


def test_images_do_not_depend_on_their_batch(photo: Image.Image, recipe: Recipe) -> None:
    other = photo.transpose(Image.Transpose.ROTATE_90)
    both = images.crop([photo, other], recipe())
    np.testing.assert_array_equal(both[:1], images.crop(photo, recipe()))
    np.testing.assert_array_equal(both[1:], images.crop(other, recipe()))


def test_preprocess_takes_no_floats(recipe: Recipe) -> None:
    for floats in (np.zeros((4, 4, 3)), np.zeros((1, 3, 4, 4)), [np.zeros((3, 4, 4))]):
        with pytest.raises(ImageError, match="uint8"):
            images.preprocess(floats, recipe())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("given", [True, False], ids=["recipe", "no recipe"])
def test_preprocessed_array_is_taken_as_it_is(dtype: Any, given: bool, recipe: Recipe) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(dtype)
    before = values.copy()
    one, pixels = images.to_batch(values[0], 3, recipe() if given else None)
    assert (one.shape, one.dtype, pixels) == ((1, 3, 5, 7), np.dtype(dtype), False)
    np.testing.assert_array_equal(one[0], values[0])
    both, pixels = images.to_batch(values, 3, recipe() if given else None)
    assert both is values
    assert not pixels
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_preprocessed_array_has_the_models_channels(channels: int) -> None:
    assert images.to_batch(np.zeros((channels, 5, 7)), channels, None)[0].shape == (1, channels, 5, 7)
    with pytest.raises(ImageError, match=rf"expected \({channels}, H, W\)"):
        images.to_batch(np.zeros((channels + 1, 5, 7)), channels, None)


def test_pixels_are_preprocessed(photo: Image.Image, tmp_path: Path, recipe: Recipe) -> None:
    photo.save(tmp_path / "photo.png")
    expected = images.preprocess(photo, recipe())
    for given in (photo, np.asarray(photo), tmp_path / "photo.png", [photo]):
        values, pixels = images.to_batch(given, 3, recipe())
        assert pixels
        np.testing.assert_array_equal(values, expected)


def test_floats_with_channels_last_are_an_error_that_says_so() -> None:
    for shape in ((8, 9, 3), (2, 8, 9, 3)):
        with pytest.raises(ImageError, match="The channels come last here: permute"):
            images.to_batch(np.zeros(shape), 3, None)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint16", "int32", "int64", "complex128", "object", "S3", ">f4", "longdouble", "M8[s]"],
)
def test_other_dtypes_are_refused(dtype: str, recipe: Recipe) -> None:
    with pytest.raises(ImageError, match=r"expected \(3, H, W\).*Pass pixels as uint8"):
        images.to_batch(np.zeros((3, 8, 8)).astype(dtype), 3, recipe())


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((), "channels, rows, columns"),
        ((8, 8), "channels, rows, columns"),
        ((1, 1, 3, 8, 8), "channels, rows, columns"),
        ((4, 8, 8), "3 channels"),
        ((2, 1, 8, 8), "3 channels"),
        ((0, 3, 8, 8), "at least one"),
        ((3, 0, 8), "at least one"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(ImageError, match=remedy) as caught:
        images.to_batch(np.zeros(shape), 3, None)
    assert str(shape) in caught.value.found


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value: float, dtype: Any) -> None:
    values = np.zeros((3, 4, 4), dtype)
    values[1, 2, 3] = values[0, 0, 0] = value
    with pytest.raises(ImageError, match="with 2 values that are NaN or infinite"):
        images.to_batch(values, 3, None)


def test_list_of_floats_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ImageError, match=r"^image\[0\].*as one array"):
        images.to_batch([np.zeros((3, 8, 8))], 3, recipe())  # type: ignore[list-item]


def test_pixels_without_recipe_name_what_is_missing(photo: Image.Image) -> None:
    with pytest.raises(ConfigError, match=r"mean.*std.*convention=.*preprocessing="):
        images.to_batch(photo, 3, None)
    with pytest.raises(ImageError, match="found an object of type"):
        images.to_batch(5, 3, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", ["exif_transpose", "resize"])
def test_a_picture_for_which_the_memory_does_not_suffice(
    step: str, photo: Image.Image, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While it is decoded, and while it is resized."""

    def full(*given: Any, **options: Any) -> None:
        raise MemoryError

    photo.save(tmp_path / "photo.png")
    monkeypatch.setattr(Image.Image if step == "resize" else ImageOps, step, full)
    for given, where in (([photo], "image[0]"), (tmp_path / "photo.png", str(tmp_path / "photo.png"))):
        with pytest.raises(ImageError, match="memory does not suffice") as caught:
            images.preprocess(given, recipe())
        assert caught.value.where == where


def test_recipe_for_other_channels_is_refused(photo: Image.Image, recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="found 1 for a model of 3 channels"):
        images.to_batch(photo, 3, recipe(channels=1))
