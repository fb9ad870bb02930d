"""What counts as a picture, under which name an error speaks of it, and which arrays are refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitref.errors import ImageError
from vitref.images.sources import listed, pictures


def arrays(images: Any, channels: int = 3) -> list[Any]:
    return [np.asarray(picture).tolist() for _, picture in pictures(images, channels)]


def test_mixed_list_keeps_its_order_and_names_every_picture(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    batch = np.stack([np.asarray(photo), np.asarray(photo)[::-1]])
    mixed = [path, str(path), photo, batch, batch[1]]
    assert [where for where, _ in pictures(mixed, 3)] == [
        str(path),
        str(path),
        "image[2]",
        "image[3][0]",
        "image[3][1]",
        "image[4]",
    ]
    upright, flipped = batch.tolist()
    assert arrays(mixed) == [upright, upright, upright, upright, flipped, flipped]
    assert arrays(tuple(mixed)) == arrays(mixed)


def test_one_picture_needs_no_list(photo: Image.Image) -> None:
    assert [where for where, _ in pictures(photo, 3)] == ["image"]
    assert arrays(np.asarray(photo)) == [np.asarray(photo).tolist()]


@pytest.mark.parametrize("spell", [str, os.fsencode])
def test_any_path_object_is_a_path(spell: Callable[[Path], Any], photo: Image.Image, tmp_path: Path) -> None:
    class Elsewhere:
        def __fspath__(self) -> Any:
            return spell(tmp_path / "photo.png")

    photo.save(tmp_path / "photo.png")
    assert arrays(Elsewhere()) == arrays(photo)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (1, 4, 5, 1)])
def test_luminance_arrays(shape: tuple[int, ...]) -> None:
    values = np.arange(20, dtype=np.uint8)
    assert arrays(values.reshape(shape), channels=1) == [values.reshape(4, 5).tolist()]


def test_strided_array_is_read_by_index_not_by_memory() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    for view in (pixels[::2], pixels[:, ::-1], pixels.swapaxes(0, 1), pixels[..., ::-1]):
        assert arrays(view) == [view.tolist()]


@pytest.mark.parametrize("nothing", [None, 3, 1.5, b"a.png", {}, {"a.png"}, Image, [["a.png"]], [None]])
def test_other_types_are_refused(nothing: Any) -> None:
    with pytest.raises(ImageError, match=r"^image(\[0\])?: found an object of type .*Pillow image"):
        listed(nothing)


class Nowhere:
    def __fspath__(self) -> str:
        return ""


@pytest.mark.parametrize("empty", ["", Nowhere()])
def test_an_empty_path_is_not_the_present_folder(empty: Any) -> None:
    for given, where in ((empty, "image"), (["", empty], r"image\[0\]")):
        with pytest.raises(ImageError, match=f"^{where}: found an empty path"):
            list(pictures(given, 3))


def test_masked_array_is_refused_since_its_mask_would_be_lost() -> None:
    with pytest.raises(ImageError, match="MaskedArray"):
        listed(np.ma.masked_equal(np.zeros((4, 4, 3), np.uint8), 0))


def test_empty_list_is_refused() -> None:
    with pytest.raises(ImageError, match="found an empty list"):
        listed([])
    with pytest.raises(ImageError, match="found an empty tuple"):
        listed(())


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64", "object", "S3"]
)
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ImageError, match="expected pixels: uint8"):
        arrays(np.zeros((4, 5, 3), dtype))


@pytest.mark.parametrize(
    ("shape", "channels", "remedy"),
    [
        ((), 3, "rows, columns, channels"),
        ((4,), 3, "rows, columns, channels"),
        ((4, 5), 3, "rows, columns, channels"),
        ((1, 1, 4, 5, 3), 3, "rows, columns, channels"),
        ((1,), 1, "rows, columns, channels"),
        ((4, 5, 1), 3, "as many as the model takes"),
        ((4, 5, 4), 3, "as many as the model takes"),
        ((4, 5, 3), 1, "as many as the model takes"),
        ((2, 4, 5, 1), 3, "as many as the model takes"),
        ((3, 4, 5), 3, "permute"),
        ((2, 3, 4, 5), 3, "permute"),
        ((1, 4, 5), 1, "permute"),
        ((0, 4, 5, 3), 3, "at least one"),
        ((0, 5, 3), 3, "at least one"),
        ((2, 4, 0, 3), 3, "at least one"),
        ((0, 5), 1, "at least one"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], channels: int, remedy: str) -> None:
    with pytest.raises(ImageError) as caught:
        arrays([np.zeros(shape, np.uint8)], channels)
    assert caught.value.where == "image[0]"
    assert str(shape) in caught.value.found
    assert f"(H, W, {channels})" in caught.value.expected
    assert remedy in caught.value.remedy
