"""Batches: pictures to crops, crops to model input, and the rule for the `image` argument of a model.

The rule: a float array (C, H, W) or (N, C, H, W) with the model's C is already preprocessed and is
taken as it is; everything else is pictures (see `sources`) and goes through `preprocess`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitref.array import HostArray
from vitref.errors import ConfigError, ImageError
from vitref.images.decode import out_of_memory
from vitref.images.sources import Sources, listed, pictures
from vitref.images.transform import normalise, resize_and_crop
from vitref.preprocessing import Preprocessing

FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The dtypes of a preprocessed image, by name: NumPy itself has no bfloat16."""


def crop(images: Sources, recipe: Preprocessing) -> npt.NDArray[Any]:
    """Decode, resize and crop: the pixels (N, H, W, C) before they are normalised; uint8, or float64 from
    0 to 255 for the interpolation "bilinear_tf", which does not round.

    `images` is a path, a Pillow image, a uint8 array (H, W, C) or (N, H, W, C), or a list of these.
    Raises ImageError for what is none of these or cannot be decoded, and ConfigError for a recipe
    that would need padding.

    >>> recipe = Preprocessing(size=(2, 3), channels=1, resize="squash", resize_to=(2, 5),
    ...                        interpolation="bicubic", mean=0.5, std=0.5)
    >>> crop(np.arange(10, dtype=np.uint8).reshape(2, 5), recipe)[0, :, :, 0].tolist()
    [[1, 2, 3], [6, 7, 8]]
    """
    return np.stack(
        [_cropped(picture, where, recipe) for where, picture in pictures(images, recipe.channels)]
    )


def _cropped(picture: Image.Image, where: str, recipe: Preprocessing) -> npt.NDArray[Any]:
    try:
        return resize_and_crop(picture, where, recipe)
    except MemoryError:
        raise out_of_memory(where) from None


def preprocess(images: Sources, recipe: Preprocessing) -> npt.NDArray[np.float64]:
    """What a model expects of `images`: `normalise` of `crop`, float64 (N, C, H, W). Same errors."""
    return normalise(crop(images, recipe), recipe)


def to_batch(
    image: Sources | HostArray, channels: int, recipe: Preprocessing | None, *, levels: bool = False
) -> tuple[HostArray, bool]:
    """The `image` argument of a model as (array (N, C, H, W), whether it was given as pixels).

    channels   of the model
    recipe     how its pictures are preprocessed; None when that is not known
    levels     pictures stay uint8 (N, H, W, C), where the recipe leaves them so: `normalise` is still to come

    A float array keeps its dtype (float64, float32, float16 or bfloat16) and values; pictures become
    float64. Raises ImageError for anything else, an empty batch, a wrong rank or channel count, and
    values that are not finite; ConfigError for pictures when `recipe` is None or is for another
    number of channels.

    >>> array, pixels = to_batch(np.zeros((3, 8, 8), np.float32), 3, None)
    >>> array.shape, array.dtype.name, pixels
    ((1, 3, 8, 8), 'float32', False)
    """
    sources = listed(image)
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        _check_floats(image, channels)
        return (image[None] if image.ndim == 3 else image), False
    if recipe is None:
        raise _no_recipe(sources[0][0])
    if recipe.channels != channels:
        raise ConfigError(
            "Preprocessing.channels",
            found=f"{recipe.channels} for a model of {channels} channels",
            expected="the model's number of channels",
            remedy="Give preprocessing= with the model's channels, or preprocessed float arrays.",
        )
    pixels = crop(image, recipe)
    return pixels if levels and pixels.dtype == np.uint8 else normalise(pixels, recipe), True


def _check_floats(array: npt.NDArray[Any], channels: int) -> None:
    found = f"an array of shape {array.shape} and dtype {array.dtype}"
    if array.dtype.name not in FLOATS or not array.dtype.isnative:
        remedy = "Pass pixels as uint8 channels last, or preprocessed values in one of the float types."
    elif array.ndim not in (3, 4):
        remedy = "Give the axes channels, rows, columns, and the batch in front if there is one."
    elif array.shape[-3] != channels and array.shape[-1] == channels:
        remedy = "The channels come last here: permute a preprocessed array, or pass the pixels as uint8."
    elif array.shape[-3] != channels:
        remedy = f"Give the {channels} channels that the model takes."
    elif 0 in array.shape:
        remedy = "Give at least one image of at least one pixel."
    elif not np.isfinite(array).all():
        found += f" with {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
        remedy = "Find where they come from; an image has finite values."
    else:
        return
    raise ImageError(
        "image",
        found=found,
        expected=f"({channels}, H, W) or (N, {channels}, H, W), finite, {', '.join(FLOATS)}",
        remedy=remedy,
    )


def _no_recipe(where: str) -> ConfigError:
    return ConfigError(
        "preprocessing",
        found=f"pixels ({where}), but neither size, resize, resize_to, interpolation, mean nor std",
        expected="a known preprocessing for pixels",
        remedy='Give convention= (convention="timm", say) or preprocessing= with the weights, '
        "or pass a preprocessed float array (C, H, W).",
    )
