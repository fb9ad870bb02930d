"""Mistakes of preprocessing: the filter, the shape and the cut, from a picture to its pixels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vitref import resampling
from vitref.array import HostArray
from vitref.images import preprocess
from vitref.images.transform import corner, resized_size
from vitref.preprocessing import Preprocessing
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import RIGHT_SIZE

FILTER = ("ggml-org/llama.cpp#24629", "ggml-org/llama.cpp#27594", "huggingface/transformers#43017")
ANTIALIAS = ("pytorch/vision#2950", "huggingface/transformers#37143", "sayakpaul/cmmd-pytorch#5")
GEOMETRY = ("vllm-project/vllm-omni#6702", "google-research/vision_transformer#39")

Pixels = Callable[[HostArray, Preprocessing], HostArray]


def recipe(**fields: Any) -> Pixels:
    """Right preprocessing by a wrong recipe; the pictures themselves where it is the right one."""

    def pixels(pictures: HostArray, right: Preprocessing) -> HostArray:
        wrong = replace(right, **fields)
        return pictures if wrong == right else preprocess(pictures, wrong)

    return pixels


def resampled(pictures: HostArray, right: Preprocessing, kernel: str) -> HostArray:
    """Resized by two matrix products in floating point, cut and normalised; nothing is rounded or clipped."""
    size = resized_size((pictures.shape[1], pictures.shape[2]), right)
    rows, columns = (
        resampling.matrix(old, new, kernel) for old, new in zip(pictures.shape[1:3], size, strict=True)
    )
    pixels = rows @ np.moveaxis(pictures / 255, 3, 1) @ columns.T
    (top, left), (height, width) = corner(size, right.size), right.size
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in (right.mean, right.std))
    return np.asarray((pixels[:, :, top : top + height, left : left + width] - mean) / std)


def without_antialias(pictures: HostArray, right: Preprocessing) -> HostArray:
    smooth = right.interpolation in ("bilinear", "bicubic")
    return resampled(pictures, right, right.interpolation) if smooth else pictures


def unrounded(pictures: HostArray, right: Preprocessing) -> HostArray:
    smooth = right.interpolation in ("bilinear", "bicubic")
    return resampled(pictures, right, f"{right.interpolation}_antialias") if smooth else pictures


def moved(pictures: HostArray, right: Preprocessing, place: str) -> HostArray:
    """Another cut out of the resized picture: from its first pixel, or one pixel before the right one."""
    size = resized_size((pictures.shape[1], pictures.shape[2]), right)
    whole = preprocess(pictures, replace(right, size=size, resize="squash", resize_to=size))
    top, left = corner(size, right.size)
    top, left = (0, 0) if place == "first" else (max(top - 1, 0), max(left - 1, 0))
    return whole[:, :, top : top + right.size[0], left : left + right.size[1]]


def shaped(resize: str, pictures: HostArray, right: Preprocessing) -> HostArray:
    """Resized to the model's size in this way, for a model that wants the other one."""
    if right.resize == resize:
        return pictures
    return preprocess(pictures, replace(right, resize=resize, resize_to=right.size))


def uncropped(pictures: HostArray, right: Preprocessing) -> HostArray:
    return recipe(resize_to=right.size)(pictures, right)


def padded(pictures: HostArray, right: Preprocessing) -> HostArray:
    """All of the picture in the middle of the model's size, black where it does not reach."""
    shrink = min(new / old for new, old in zip(right.size, pictures.shape[1:3], strict=True))
    size = tuple(
        min(max(round(shrink * old), 1), new)
        for old, new in zip(pictures.shape[1:3], right.size, strict=True)
    )
    inner = preprocess(pictures, replace(right, size=size, resize="squash", resize_to=size))
    black = np.reshape(-np.array(right.mean) / np.array(right.std), (1, -1, 1, 1))
    whole = np.broadcast_to(black, (*inner.shape[:2], *right.size)).copy()
    (top, left) = ((new - old) // 2 for old, new in zip(size, right.size, strict=True))
    whole[:, :, top : top + size[0], left : left + size[1]] = inner
    return whole


MISTAKES = (
    Mistake(
        name="bilinear_for_bicubic",
        what="the picture is resized bilinearly where the model wants bicubic",
        look=(
            "the filter named where the picture is resized: bilinear is the default of many resize functions"
        ),
        refute=RIGHT_SIZE,
        topic="filter of the picture",
        evidence=FILTER,
        shows="image",
        pixels=recipe(interpolation="bilinear"),
    ),
    Mistake(
        name="bicubic_for_bilinear",
        what="the picture is resized bicubically where the model wants another filter",
        look=(
            "the filter named where the picture is resized, and the interpolation in the model's "
            "own processor file"
        ),
        refute=RIGHT_SIZE,
        topic="filter of the picture",
        evidence=(),
        shows="image",
        pixels=recipe(interpolation="bicubic"),
    ),
    Mistake(
        name="nearest_for_bicubic",
        what="the picture is resized to nearest pixels where the model wants a smooth filter",
        look="a resize without a named filter: nearest is the default of several array libraries",
        refute=RIGHT_SIZE,
        topic="filter of the picture",
        evidence=FILTER,
        shows="image",
        pixels=recipe(interpolation="nearest"),
    ),
    Mistake(
        name="lanczos_for_bicubic",
        what="the picture is resized by Lanczos' filter where the model wants another one",
        look=(
            "the filter named where the picture is resized; Pillow's constant 1 is Lanczos, 2 "
            "bilinear, 3 bicubic"
        ),
        refute=RIGHT_SIZE,
        topic="filter of the picture",
        evidence=(),
        shows="image",
        pixels=recipe(interpolation="lanczos"),
    ),
    Mistake(
        name="picture_without_antialias",
        what="the picture is resized by the right filter without antialias, as by OpenCV or older torch",
        look=(
            "the library that resizes: Pillow antialiases always, torch with antialias=True only, "
            "OpenCV never"
        ),
        refute=(
            "Feed a picture smaller than the model's size: filters with and without antialias "
            "agree where they enlarge, so an error as large as before refutes it."
        ),
        topic="antialias of the picture",
        evidence=(*ANTIALIAS, "alibaba/MNN#4595"),
        shows="image",
        pixels=without_antialias,
    ),
    Mistake(
        name="picture_resized_in_float",
        what=(
            "the picture is resized in floating point, without Pillow's rounding to 8 bits and its clipping"
        ),
        look=(
            "a resize that comes after the conversion to float, as in torch with antialias=True, "
            "or after normalising"
        ),
        refute=(
            "Compare `image` in grey levels: an error of two levels or more, away from hard "
            "edges, has another cause."
        ),
        topic="crop and shape of the picture",
        evidence=("huggingface/transformers#37143",),
        shows="image",
        pixels=unrounded,
    ),
    Mistake(
        name="squashed",
        what="the picture is squashed to the model's size instead of cropped",
        look="a resize to (height, width) where the recipe resizes the shortest side and crops",
        refute=(
            "Feed a square picture of exactly the size before the crop: if the error is the same, "
            "it is not from the shape."
        ),
        topic="crop and shape of the picture",
        evidence=GEOMETRY,
        shows="image",
        pixels=lambda pictures, right: shaped("squash", pictures, right),
    ),
    Mistake(
        name="crop_of_all",
        what="the shortest side is resized to the model's size itself, without the margin that is cut off",
        look="crop_pct, or a size before the crop that equals the size after it",
        refute=(
            "Feed a picture that has the size before the crop, cut by hand: an error of `image` "
            "that remains has another cause."
        ),
        topic="crop and shape of the picture",
        evidence=("huggingface/transformers#28264",),
        shows="image",
        pixels=uncropped,
    ),
    Mistake(
        name="shortest_for_squash",
        what="the shortest side is resized and the middle cut out where the model squashes the picture",
        look=(
            "the resize mode of the processor file: a pair {height, width} means squash, "
            "shortest_edge means crop"
        ),
        refute=(
            "Feed a square picture: both ways then agree, so an error of `image` that remains has "
            "another cause."
        ),
        topic="crop and shape of the picture",
        evidence=GEOMETRY,
        shows="image",
        pixels=lambda pictures, right: shaped("shortest", pictures, right),
    ),
    Mistake(
        name="padded",
        what="all of the picture is shrunk into the model's size and padded with black",
        look="a letterbox step, as in detection pipelines: pad, or a canvas that the picture is pasted on",
        refute=(
            "Look at the first and last rows and columns of `image`: if none of them is constant, "
            "nothing was padded."
        ),
        topic="crop and shape of the picture",
        evidence=GEOMETRY,
        shows="image",
        pixels=padded,
    ),
    Mistake(
        name="crop_from_corner",
        what="the crop is taken from the upper left corner instead of the middle",
        look="a slice [:height, :width] after the resize, or a crop without an offset",
        refute=RIGHT_SIZE,
        topic="crop and shape of the picture",
        evidence=(),
        shows="image",
        pixels=lambda pictures, right: moved(pictures, right, "first"),
    ),
    Mistake(
        name="crop_one_pixel_early",
        what="the crop begins one pixel too far up and left, as by another rounding of half the margin",
        look="how half of (size - crop) is rounded: down, up, or to the even neighbour",
        refute=(
            "Shift the candidate's `image` by one pixel down and right: unless it then agrees "
            "inside, this is not the cause."
        ),
        topic="crop and shape of the picture",
        evidence=(),
        shows="image",
        pixels=lambda pictures, right: moved(pictures, right, "early"),
    ),
)
