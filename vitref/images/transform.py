r"""Geometry and scale: resize, cut out the centre, normalise.

With (h, w) the size of the picture and (H, W) that of `resize_to`, the size after the resize is

squash                 (H, W)
shortest, H == W       the short side becomes H, the long side int(H * long / short): rounded down
shortest, H != W       (round(h / r), round(w / r)) with r = min(h / H, w / W)

and the crop begins at row round((rows - crop rows) / 2), the same for columns. `round` is Python's:
halves go to the even neighbour, so 21 spare rows leave 10 above and 23 leave 12.

The filter is the recipe's in all three cases: one of Pillow's, which antialiases when it reduces and
rounds to 8 bits, or "bilinear_tf", which does neither. That is tf.image.resize(image, size) of Google's
code: each axis by the recipe "bilinear" of `vitref.resampling`, here in float64, in TensorFlow in float32.
Which axis comes first does not matter; it is the one that leaves less, so that a resize needs about as
much memory as the picture. timm before 1.0.31 dropped the filter of a model whose input is not square and
used bilinear there: a recipe that is to repeat that says "bilinear".

Source: timm `data/transforms_factory.py` (`transforms_imagenet_eval`) and `data/transforms.py`
(`ResizeKeepRatio`), commit aa4b5850; torchvision `transforms/functional.py` (`resize` with one
number, `center_crop`); google-research/vision_transformer `vit_jax/input_pipeline.py` (`get_data`), and
tensorflow/core/kernels/image/resize_bilinear_op.cc with half-pixel centres.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitref.errors import ImageError
from vitref.preprocessing import Preprocessing
from vitref.resampling import neighbours

LARGEST = 2**28 // 3
"""Most pixels that a resize may produce, or hold between its two axes: Pillow's own default limit for an
image, 256 MiB of RGB."""


def resized_size(size: tuple[int, int], recipe: Preprocessing) -> tuple[int, int]:
    """(rows, columns) that a picture of `size` (rows, columns) has between resize and crop.

    >>> recipe = Preprocessing(size=224, channels=3, resize="shortest", resize_to=248,
    ...                        interpolation="bicubic", mean=0.5, std=0.5)
    >>> resized_size((333, 500), recipe)
    (248, 372)
    """
    rows, columns = recipe.resize_to
    height, width = size
    if recipe.resize == "squash":
        return rows, columns
    if rows != columns:
        ratio = min(height / rows, width / columns)
        return round(height / ratio), round(width / ratio)
    if width <= height:
        return int(rows * height / width), rows
    return rows, int(rows * width / height)


def corner(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """(row, column) at which the centred crop begins.

    >>> corner((248, 372), (224, 224)), corner((245, 247), (224, 224))
    ((12, 74), (10, 12))
    """
    return round((size[0] - crop[0]) / 2), round((size[1] - crop[1]) / 2)


def resize_and_crop(picture: Image.Image, where: str, recipe: Preprocessing) -> npt.NDArray[Any]:
    """The pixels (H, W, C) of `recipe.size` that the model is to see: uint8, or float64 from 0 to 255
    where the filter does not round.

    Raises ImageError when the picture is so elongated that the resize exceeds `LARGEST` pixels.
    """
    rows, columns = resized_size((picture.height, picture.width), recipe)
    _check_resize(picture, where, recipe, rows, columns)
    (top, left), (height, width) = corner((rows, columns), recipe.size), recipe.size
    if recipe.interpolation == "bilinear_tf":
        pixels = np.asarray(picture).reshape(picture.height, picture.width, recipe.channels)
        steps = [(0, rows, slice(top, top + height)), (1, columns, slice(left, left + width))]
        if picture.height * width < height * picture.width:
            steps.reverse()
        for axis, new, kept in steps:
            pixels = _resampled(pixels, axis, new, kept)
        return pixels
    resized = picture.resize((columns, rows), Image.Resampling[recipe.interpolation.upper()])
    cut = np.asarray(resized)[top : top + height, left : left + width]
    return cut.reshape(height, width, recipe.channels)


def _check_resize(picture: Image.Image, where: str, recipe: Preprocessing, rows: int, columns: int) -> None:
    """Pillow resizes the columns of all rows first, however many these are."""
    between = picture.height * columns if recipe.interpolation in ("bilinear", "bicubic", "lanczos") else 0
    if max(rows * columns, between) > LARGEST:
        found = f"{picture.height} by {picture.width} pixels, after the resize {rows} by {columns}"
        raise ImageError(
            where,
            found=found if rows * columns > LARGEST else f"{found}, between its axes {between} pixels",
            expected=f"at most {LARGEST} pixels in all after the resize and between its axes",
            remedy="Crop the picture to a less elongated shape.",
        )


def _resampled(pixels: npt.NDArray[Any], axis: int, new: int, kept: slice) -> npt.NDArray[np.float64]:
    """The `kept` ones of `new` positions along an axis of `pixels` (H, W, C)."""
    index, weights = neighbours(pixels.shape[axis], new, "bilinear", kept)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    (left, right), (a, b) = index.T, weights.T
    sums: npt.NDArray[np.float64] = a.reshape(shape) * pixels.take(left, axis)
    sums += b.reshape(shape) * pixels.take(right, axis)
    return sums


def normalise(crops: npt.NDArray[Any], recipe: Preprocessing) -> npt.NDArray[np.float64]:
    """(value / 255 - mean) / std in float64: (N, H, W, C), uint8 or float64, to float64 (N, C, H, W).

    Raises ImageError when `crops` is of another dtype, rank or channel count. Not checked: (H, W).

    >>> recipe = Preprocessing(size=1, channels=3, resize="squash", resize_to=1,
    ...                        interpolation="bicubic", mean=0.5, std=0.5)
    >>> normalise(np.array([[[[0, 51, 255]]]], np.uint8), recipe).ravel().tolist()
    [-1.0, -0.6, 1.0]
    """
    _check_crops(crops, recipe.channels)
    mean, std = (np.array(values, np.float64).reshape(-1, 1, 1) for values in (recipe.mean, recipe.std))
    pixels = np.ascontiguousarray(np.moveaxis(crops, 3, 1))
    return (pixels.astype(np.float64) / 255.0 - mean) / std


def level_table(recipe: Preprocessing) -> npt.NDArray[np.float64]:
    """`normalise` of every value that a pixel can have: (C, 256), float64.

    >>> recipe = Preprocessing(size=1, channels=1, resize="squash", resize_to=1,
    ...                        interpolation="bicubic", mean=0.5, std=0.5)
    >>> level_table(recipe)[0, [0, 51, 255]].tolist()
    [-1.0, -0.6, 1.0]
    """
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1).repeat(recipe.channels, axis=3)
    return normalise(levels, recipe)[0, :, 0]


def _check_crops(crops: Any, channels: int) -> None:
    if isinstance(crops, np.ndarray):
        if crops.dtype in (np.uint8, np.float64) and crops.ndim == 4 and crops.shape[3] == channels:
            return
        found = f"an array of shape {crops.shape} and dtype {crops.dtype}"
    else:
        found = f"an object of type {type(crops).__name__}"
    raise ImageError(
        "crops",
        found=found,
        expected=f"a uint8 or float64 array (N, H, W, {channels})",
        remedy="Pass what vitref.images.crop returns, or pixels from 0 to 255 in that form.",
    )
