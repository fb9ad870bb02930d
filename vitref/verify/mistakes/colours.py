"""Mistakes of what pixels mean: their range, mean and std, the order of channels, and reflections.

All but the reading of a picture work on pixels that are preprocessed already, too.
"""

from collections.abc import Callable

import numpy as np

from vitref.array import HostArray
from vitref.images import preprocess
from vitref.preprocessing import Preprocessing
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import GREY, ONE_COLOUR, SYMMETRIC

STATISTICS = ("microsoft/Olive#1781", "staghado/vit.cpp#18", "Yangsenqiao/vida#14", "isl-org/DPT#13")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
LUMINANCE = (0.299, 0.587, 0.114)

Pixels = Callable[[HostArray, Preprocessing | None], HostArray]
Levels = Callable[[HostArray, HostArray, HostArray], HostArray]


def right_array(pictures: HostArray, right: Preprocessing | None) -> HostArray:
    """What should come out; an array that is preprocessed already is that."""
    return preprocess(pictures, right) if right and pictures.dtype.kind == "u" else pictures


def arrays(change: Callable[[HostArray], HostArray]) -> Pixels:
    """A change of the right array (N, C, H, W)."""
    return lambda pictures, right: np.ascontiguousarray(change(right_array(pictures, right)))


def normalised(wrong: Levels) -> Pixels:
    """The right pixels, from 0 to 1, normalised otherwise: (pixels, mean, std) -> array.

    Without a recipe the range of the pixels is not known, and nothing is changed.
    """

    def pixels(pictures: HostArray, right: Preprocessing | None) -> HostArray:
        if right is None:
            return pictures
        mean, std = (np.reshape(values, (-1, 1, 1)) for values in (right.mean, right.std))
        return np.asarray(wrong(right_array(pictures, right) * std + mean, mean, std))

    return pixels


def statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> Pixels:
    """Normalised by these, where the pictures have three channels."""
    change = normalised(lambda x, *right: (x - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1)))

    def pixels(pictures: HostArray, right: Preprocessing | None) -> HostArray:
        known = right is not None and right.channels == 3 and (right.mean, right.std) != (mean, std)
        return change(pictures, right) if known else pictures

    return pixels


def grey(pixels: HostArray, mean: HostArray, std: HostArray) -> HostArray:
    """The luminance in every channel."""
    if pixels.shape[1] != 3:
        return (pixels - mean) / std
    levels = np.einsum("nchw,c->nhw", pixels, LUMINANCE)[:, None]
    return (np.broadcast_to(levels, pixels.shape) - mean) / std


MISTAKES = (
    Mistake(
        name="imagenet_statistics",
        what="mean and std of ImageNet for a model that wants others",
        look=(
            "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 in the code or a processor "
            "file; Google's and augreg weights want 0.5"
        ),
        refute=ONE_COLOUR,
        topic="mean and std",
        evidence=STATISTICS,
        shows="image",
        pixels=statistics(*IMAGENET),
        on_arrays=True,
    ),
    Mistake(
        name="half_statistics",
        what="mean and std 0.5, pixels from -1 to 1, for a model that wants others, such as ImageNet's",
        look=(
            "mean 0.5 and std 0.5, or x / 127.5 - 1, in the code or a processor file; DeiT, MAE "
            "and DINO want ImageNet's"
        ),
        refute=ONE_COLOUR,
        topic="mean and std",
        evidence=STATISTICS,
        shows="image",
        pixels=statistics(*HALF),
        on_arrays=True,
    ),
    Mistake(
        name="clip_statistics",
        what="mean and std of OpenAI's CLIP for a model that wants others",
        look="mean 0.4815, 0.4578, 0.4082 and std 0.2686, 0.2613, 0.2758 in the code or a processor file",
        refute=ONE_COLOUR,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=statistics(*CLIP),
        on_arrays=True,
    ),
    Mistake(
        name="not_normalised",
        what="pixels from 0 to 1, without mean and std",
        look="a missing Normalize after ToTensor, or do_normalize=False",
        refute="Look at the smallest value of `image`: one below 0 refutes it.",
        topic="mean and std",
        evidence=("mr-eggplant/SAR#5",),
        shows="image",
        pixels=normalised(lambda x, mean, std: x),
        on_arrays=True,
    ),
    Mistake(
        name="mean_not_subtracted",
        what="the pixels are divided by std, and the mean is not subtracted",
        look="a normalisation that only divides",
        refute="Look at the smallest value of `image`: one below 0 refutes it.",
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: x / std),
        on_arrays=True,
    ),
    Mistake(
        name="not_divided_by_std",
        what="the mean is subtracted, and the pixels are not divided by std",
        look="a normalisation that only subtracts",
        refute="Look at the spread of `image`: a range of more than 1 in a channel refutes it.",
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: x - mean),
        on_arrays=True,
    ),
    Mistake(
        name="mean_and_std_exchanged",
        what="std is subtracted and the mean divided by",
        look="the order of the two arguments of the normalisation",
        refute=ONE_COLOUR,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: (x - std) / mean),
        on_arrays=True,
    ),
    Mistake(
        name="statistics_of_bgr",
        what=(
            "mean and std are applied in the order blue, green, red to pixels in the order red, green, blue"
        ),
        look="mean and std that were reversed together with a conversion from BGR that is no longer there",
        refute=ONE_COLOUR,
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: (x - mean[::-1]) / std[::-1]),
        on_arrays=True,
    ),
    Mistake(
        name="rescaled_twice",
        what="the pixels are divided by 255 twice",
        look="a division by 255 in the code and do_rescale in the processor, or ToTensor after a division",
        refute="Look at the spread of `image`: more than 1 / 255 / std in a channel refutes it.",
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: (x / 255 - mean) / std),
        on_arrays=True,
    ),
    Mistake(
        name="not_rescaled",
        what="pixels from 0 to 255 are normalised as if they went from 0 to 1",
        look="a missing division by 255 before mean and std, or do_rescale=False",
        refute=(
            "Look at the spread of `image`: less than 2 / std in a channel of a picture with dark "
            "and bright parts refutes it."
        ),
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: (255 * x - mean) / std),
        on_arrays=True,
    ),
    Mistake(
        name="raw_pixels",
        what="pixels from 0 to 255 enter the model as they are",
        look="a picture that is converted to float and neither rescaled nor normalised",
        refute=(
            "Look at `image`: a value that is not a whole number, or one below 0, refutes it "
            "where the resize rounds."
        ),
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: 255 * x),
        on_arrays=True,
    ),
    Mistake(
        name="rescaled_by_256",
        what="the pixels are divided by 256 instead of 255, which makes x / 128 - 1 of x / 127.5 - 1",
        look="the constants 256, 128 or a shift by 8 bits where a pixel becomes a number",
        refute="Look at white pixels: if they are exactly (1 - mean) / std, this is not the cause.",
        topic="mean and std",
        evidence=(),
        shows="image",
        pixels=normalised(lambda x, mean, std: (x * (255 / 256) - mean) / std),
        on_arrays=True,
    ),
    Mistake(
        name="bgr",
        what="the channels are blue, green, red, as OpenCV reads them",
        look="cv2.imread without a conversion, a conversion applied twice, or one done by habit",
        refute=GREY,
        topic="colour channels",
        evidence=("kohya-ss/musubi-tuner#176", "tencent-ailab/IP-Adapter#430"),
        shows="image",
        pixels=normalised(lambda x, mean, std: (x[:, ::-1] - mean) / std),
        on_arrays=True,
    ),
    Mistake(
        name="channels_reversed",
        what="the channels of the normalised array are in the order blue, green, red",
        look="a flip of the channel axis after the normalisation, or weights whose kernel expects BGR",
        refute=(
            "Reverse the channels of the candidate's `image`: unless it then agrees, this is not the cause."
        ),
        topic="colour channels",
        evidence=(),
        shows="image",
        pixels=arrays(lambda x: x[:, ::-1]),
        on_arrays=True,
        alike=("kernel_bgr",),
    ),
    Mistake(
        name="grey_picture",
        what="the picture is converted to grey and its luminance stands in every channel",
        look='a conversion to "L" or a reader in greyscale mode before the channels are repeated',
        refute="Undo mean and std and look for a pixel whose three channels differ: one refutes it.",
        topic="colour channels",
        evidence=(),
        shows="image",
        pixels=normalised(grey),
        on_arrays=True,
    ),
    Mistake(
        name="picture_transposed",
        what="rows and columns of the picture are swapped",
        look="a permutation (2, 1, 0) for (2, 0, 1), or a picture indexed by x before y",
        refute=SYMMETRIC,
        topic="rows and columns",
        evidence=("osaurus-ai/vmlx-swift#225",),
        shows="image",
        pixels=lambda pictures, right: preprocess(np.ascontiguousarray(pictures.swapaxes(1, 2)), right),
    ),
    Mistake(
        name="mirrored",
        what="left and right of the picture are exchanged",
        look="a horizontal flip left over from training, or a camera that mirrors",
        refute=SYMMETRIC,
        topic="rows and columns",
        evidence=(),
        shows="image",
        pixels=arrays(lambda x: x[..., ::-1]),
        on_arrays=True,
    ),
    Mistake(
        name="upside_down",
        what="the rows of the picture come from bottom to top",
        look="a reader whose origin is at the bottom, as in OpenGL or in bitmaps of Windows",
        refute=SYMMETRIC,
        topic="rows and columns",
        evidence=(),
        shows="image",
        pixels=arrays(lambda x: x[:, :, ::-1]),
        on_arrays=True,
    ),
    Mistake(
        name="turned_by_180",
        what="the picture is turned by 180 degrees",
        look="the orientation stored in the picture's file (EXIF), which one of the two programs ignores",
        refute=(
            "Feed a picture that looks the same when it is turned by 180 degrees: an error of "
            "`image` that remains has another cause."
        ),
        topic="rows and columns",
        evidence=(),
        shows="image",
        pixels=arrays(lambda x: x[:, :, ::-1, ::-1]),
        on_arrays=True,
    ),
)
