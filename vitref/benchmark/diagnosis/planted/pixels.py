"""Planted between the picture and the model: statistics, filters, geometry, channels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from vitref.array import HostArray
from vitref.benchmark.diagnosis.bug import Bug
from vitref.benchmark.diagnosis.library import torch
from vitref.preprocessing import Preprocessing

Recipe = Preprocessing
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def resized_to(picture: HostArray, recipe: Recipe) -> tuple[int, int]:
    """(columns, rows) that cover `resize_to` in the picture's shape."""
    scale = max(recipe.resize_to[0] / picture.shape[0], recipe.resize_to[1] / picture.shape[1])
    if recipe.resize_to[0] == recipe.resize_to[1]:
        return int(picture.shape[1] * scale + 1e-9), int(picture.shape[0] * scale + 1e-9)
    return round(picture.shape[1] * scale), round(picture.shape[0] * scale)


def by_pillow(name: str) -> Callable[[HostArray, Recipe], HostArray]:
    """A resize with this filter of Pillow, to uint8."""
    return lambda picture, recipe: np.asarray(
        Image.fromarray(picture).resize(resized_to(picture, recipe), Image.Resampling[name.upper()])
    )


def by_torch(mode: str, antialias: bool) -> Callable[[HostArray, Recipe], HostArray]:
    """A resize of the tensor, which is not rounded to 8 bits."""

    def resize(picture: HostArray, recipe: Recipe) -> HostArray:
        columns, rows = resized_to(picture, recipe)
        tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float64))
        moved = torch.nn.functional.interpolate(tensor, (rows, columns), mode=mode, antialias=antialias)
        return np.asarray(moved[0].clamp(0, 255).numpy().transpose(1, 2, 0))

    return resize


def as_recipe(picture: HostArray, recipe: Recipe) -> HostArray:
    return by_pillow(recipe.interpolation)(picture, recipe)


def centre(values: HostArray, recipe: Recipe) -> HostArray:
    (height, width), (rows, columns) = values.shape[:2], recipe.size
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    return values[top : top + rows, left : left + columns]


def one_pixel_off(values: HostArray, recipe: Recipe) -> HostArray:
    (height, width), (rows, columns) = values.shape[:2], recipe.size
    top, left = round((height - rows) / 2), (width - columns) // 2 + 1
    left = min(left, width - columns) if left <= width - columns else left - 2
    return values[top : top + rows, left : left + columns]


def standardised(values: HostArray, recipe: Recipe) -> HostArray:
    return np.asarray((values / 255.0 - np.array(recipe.mean)) / np.array(recipe.std))


def preprocessed(
    resize: Callable[..., Any] = as_recipe,
    crop: Callable[..., Any] = centre,
    normalise: Callable[..., Any] = standardised,
    after: Callable[[HostArray], HostArray] = np.asarray,
) -> Callable[[HostArray, Recipe], HostArray]:
    """One picture (H, W, 3) to what the model sees, (3, H, W), with one of the four steps wrong."""

    def run(picture: HostArray, recipe: Recipe) -> HostArray:
        values = normalise(crop(resize(picture, recipe), recipe), recipe)
        return np.ascontiguousarray(after(values).transpose(2, 0, 1))

    return run


def squash(picture: HostArray, recipe: Recipe) -> HostArray:
    size = (recipe.size[1], recipe.size[0])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def closer(picture: HostArray, recipe: Recipe) -> HostArray:
    """A crop of 0.8 instead of 0.9."""
    larger = (round(recipe.resize_to[0] * 9 / 8), round(recipe.resize_to[1] * 9 / 8))
    columns, rows = resized_to(picture, _with_resize(recipe, larger))
    return np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC))


def _with_resize(recipe: Recipe, to: tuple[int, int]) -> Recipe:
    return Preprocessing(**{**recipe.to_dict(), "resize_to": to})


def bug(name: str, what: str, **steps: Any) -> Bug:
    return Bug(name=name, what=what, first="image", pixels=preprocessed(**steps))


BUGS = (
    bug(
        "clip_statistics",
        "normalises with the mean and standard deviation of OpenAI's CLIP",
        normalise=lambda v, r: (v / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD),
    ),
    bug("pixels_by_128", "maps 0..255 to (x - 128) / 128", normalise=lambda v, r: (v - 128.0) / 128.0),
    bug("pixels_from_0_to_1", "divides by 255 and does not normalise", normalise=lambda v, r: v / 255.0),
    bug(
        "pixels_by_255_twice",
        "divides by 255 twice",
        normalise=lambda v, r: standardised(v / 255.0, r),
    ),
    bug(
        "pixels_not_rescaled",
        "subtracts the mean from values of 0 to 255",
        normalise=lambda v, r: (v - np.array(r.mean)) / np.array(r.std),
    ),
    bug(
        "std_forgotten",
        "subtracts the mean and does not divide",
        normalise=lambda v, r: v / 255.0 - np.array(r.mean),
    ),
    bug("opencv_colours", "feeds blue, green, red", after=lambda x: x[:, :, ::-1]),
    bug("colours_rotated", "feeds green, blue, red", after=lambda x: x[:, :, [1, 2, 0]]),
    bug("triangle_filter", "resizes with Pillow's bilinear filter", resize=by_pillow("bilinear")),
    bug("lanczos_filter", "resizes with Pillow's Lanczos filter", resize=by_pillow("lanczos")),
    bug("nearest_filter", "resizes by the nearest pixel", resize=by_pillow("nearest")),
    bug(
        "tensor_without_antialias",
        "resizes the tensor with torch's bicubic filter without antialias",
        resize=by_torch("bicubic", False),
    ),
    bug(
        "tensor_with_antialias",
        "resizes the tensor with torch's bicubic filter with antialias, which does not round to 8 bits",
        resize=by_torch("bicubic", True),
    ),
    bug("squeezed", "resizes to the input's shape without a crop", resize=squash),
    bug("crop_of_080", "crops 0.8 of the picture in place of 0.9", resize=closer),
    bug("crop_off_by_one", "begins the crop one pixel too far to the right", crop=one_pixel_off),
    bug("mirrored", "feeds the picture mirrored", after=lambda x: x[:, ::-1]),
    bug(
        "transposed",
        "reads columns as rows",
        resize=lambda picture, recipe: as_recipe(picture.transpose(1, 0, 2), recipe),
    ),
    bug(
        "contrast",
        "applies a gamma of 2.2 to the picture",
        normalise=lambda v, r: standardised(255.0 * (v / 255.0) ** (1 / 2.2), r),
    ),
)
