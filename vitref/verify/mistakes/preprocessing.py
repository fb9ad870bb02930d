"""Mistakes of preprocessing: from a picture to the array that a model expects."""

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

STATISTICS = ("microsoft/Olive#1781", "staghado/vit.cpp#18", "Yangsenqiao/vida#14", "isl-org/DPT#13")
FILTER = ("ggml-org/llama.cpp#24629", "ggml-org/llama.cpp#27594", "huggingface/transformers#43017")
ANTIALIAS = ("pytorch/vision#2950", "huggingface/transformers#37143", "sayakpaul/cmmd-pytorch#5")
GEOMETRY = ("vllm-project/vllm-omni#6702", "google-research/vision_transformer#39")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Pixels = Callable[[HostArray, Preprocessing], HostArray]


def recipe(**fields: Any) -> Pixels:
    """Right preprocessing by a wrong recipe."""
    return lambda pictures, right: preprocess(pictures, replace(right, **fields))


def without_antialias(pictures: HostArray, right: Preprocessing) -> HostArray:
    """The same filter, not widened where the picture shrinks, and without rounding."""
    size = resized_size((pictures.shape[1], pictures.shape[2]), right)
    rows, columns = (
        resampling.matrix(old, new, right.interpolation)
        for old, new in zip(pictures.shape[1:3], size, strict=True)
    )
    pixels = np.einsum("ih,nhwc,jw->ncij", rows, pictures / 255, columns)
    (top, left), (height, width) = corner(size, right.size), right.size
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in (right.mean, right.std))
    return np.asarray((pixels[:, :, top : top + height, left : left + width] - mean) / std)


def rescaled_twice(pictures: HostArray, right: Preprocessing) -> HostArray:
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in (right.mean, right.std))
    return np.asarray(((preprocess(pictures, right) * std + mean) / 255 - mean) / std)


def not_normalised(pictures: HostArray, right: Preprocessing) -> HostArray:
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in (right.mean, right.std))
    return np.asarray(preprocess(pictures, right) * std + mean)


MISTAKES = (
    Mistake(
        name="imagenet_statistics",
        what="mean and std of ImageNet for a model that wants 0.5 and 0.5",
        topic="mean and std",
        evidence=STATISTICS,
        shows="image",
        pixels=recipe(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    ),
    Mistake(
        name="not_normalised",
        what="pixels from 0 to 1, without mean and std",
        topic="mean and std",
        evidence=("mr-eggplant/SAR#5",),
        shows="image",
        pixels=not_normalised,
    ),
    Mistake(
        name="rescaled_twice",
        what="the pixels are divided by 255 twice",
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=rescaled_twice,
    ),
    Mistake(
        name="bilinear_for_bicubic",
        what="the picture is resized bilinearly where the model wants bicubic",
        topic="filter of the picture",
        evidence=FILTER,
        shows="image",
        pixels=recipe(interpolation="bilinear"),
    ),
    Mistake(
        name="nearest_for_bicubic",
        what="the picture is resized to nearest pixels where the model wants bicubic",
        topic="filter of the picture",
        evidence=FILTER,
        shows="image",
        pixels=recipe(interpolation="nearest"),
    ),
    Mistake(
        name="picture_without_antialias",
        what="the picture is resized by the right filter without antialias, as by OpenCV or older torch",
        topic="antialias of the picture",
        evidence=(*ANTIALIAS, "alibaba/MNN#4595"),
        shows="image",
        pixels=without_antialias,
    ),
    Mistake(
        name="squashed",
        what="the picture is squashed to the model's size instead of cropped",
        topic="crop and shape of the picture",
        evidence=GEOMETRY,
        shows="image",
        pixels=lambda pictures, right: preprocess(
            pictures, replace(right, resize="squash", resize_to=right.size)
        ),
    ),
    Mistake(
        name="crop_of_all",
        what="the shortest side is resized to the model's size itself, without the margin that is cut off",
        topic="crop and shape of the picture",
        evidence=("huggingface/transformers#28264",),
        shows="image",
        pixels=lambda pictures, right: preprocess(pictures, replace(right, resize_to=right.size)),
    ),
    Mistake(
        name="bgr",
        what="the channels are blue, green, red, as OpenCV reads them",
        topic="colour channels",
        evidence=("kohya-ss/musubi-tuner#176", "tencent-ailab/IP-Adapter#430"),
        shows="image",
        pixels=lambda pictures, right: preprocess(np.ascontiguousarray(pictures[..., ::-1]), right),
    ),
    Mistake(
        name="picture_transposed",
        what="rows and columns of the picture are swapped",
        topic="rows and columns",
        evidence=("osaurus-ai/vmlx-swift#225",),
        shows="image",
        pixels=lambda pictures, right: preprocess(np.ascontiguousarray(pictures.swapaxes(1, 2)), right),
    ),
)
