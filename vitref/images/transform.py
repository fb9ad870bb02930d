r"""Geometry and scale: resize, cut out the centre, normalise.

With (h, w) the size of the picture and (H, W) that of `resize_to`, the size after the resize is

squash                 (H, W)
shortest, H == W       the short side becomes H, the long side int(H * long / short): rounded down
shortest, H != W       (round(h / r), round(w / r)) with r = min(h / H, w / W)

and the crop begins at row round((rows - crop rows) / 2), the same for columns. `round` is Python's:
halves go to the even neighbour, so 21 spare rows leave 10 above and 23 leave 12.

The filter is the recipe's in all three cases. timm (commit aa4b5850) drops the filter of a model
whose input is not square and uses bilinear there: a recipe that is to repeat that says "bilinear".

Source: timm `data/transforms_factory.py` (`transforms_imagenet_eval`) and `data/transforms.py`
(`ResizeKeepRatio`), commit aa4b5850; torchvision `transforms/functional.py` (`resize` with one
number, `center_crop`). Pillow's `Image.resize` antialiases when it reduces.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitref.errors import ImageError
from vitref.preprocessing import Preprocessing

LARGEST = 2**28 // 3
"""Most pixels that a resize may produce: Pillow's own default limit for an image, 256 MiB of RGB."""


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


def resize_and_crop(picture: Image.Image, where: str, recipe: Preprocessing) -> npt.NDArray[np.uint8]:
    """The pixels (H, W, C) of `recipe.size` that the model is to see.

    Raises ImageError when the picture is so elongated that the resize exceeds `LARGEST` pixels.
    """
    rows, columns = resized_size((picture.height, picture.width), recipe)
    if rows * columns > LARGEST:
        raise ImageError(
            where,
            found=f"{picture.height} by {picture.width} pixels, after the resize {rows} by {columns}",
            expected=f"at most {LARGEST} pixels in all after the resize",
            remedy="Crop the picture to a less elongated shape.",
        )
    resized = picture.resize((columns, rows), Image.Resampling[recipe.interpolation.upper()])
    (top, left), (height, width) = corner((rows, columns), recipe.size), recipe.size
    pixels = np.asarray(resized)[top : top + height, left : left + width]
    return pixels.reshape(height, width, recipe.channels)


def normalise(crops: npt.NDArray[np.uint8], recipe: Preprocessing) -> npt.NDArray[np.float64]:
    """(value / 255 - mean) / std in float64: uint8 (N, H, W, C) to float64 (N, C, H, W).

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


def _check_crops(crops: Any, channels: int) -> None:
    if isinstance(crops, np.ndarray):
        if crops.dtype == np.uint8 and crops.ndim == 4 and crops.shape[3] == channels:
            return
        found = f"an array of shape {crops.shape} and dtype {crops.dtype}"
    else:
        found = f"an object of type {type(crops).__name__}"
    raise ImageError(
        "crops",
        found=found,
        expected=f"a uint8 array (N, H, W, {channels})",
        remedy="Pass what vitref.images.crop returns, or pixels in that form.",
    )
