"""Decoding: a file or a Pillow image becomes one upright Pillow image of 8-bit RGB or luminance.

What is done to a picture, in this order:

orientation   the EXIF orientation is applied (`PIL.ImageOps.exif_transpose`), so that the model sees
              the picture as a viewer shows it. timm and torchvision leave it unapplied.
depth         grey of 16 bits, which Pillow decodes in full, is brought to 8 by rounding: value / 257 to
              the nearest, so that 0 and 65535 become 0 and 255 (Pillow's own conversion would clip at
              255). PNM files of other depths, grey or colour, Pillow scales likewise as it decodes.
colour        `convert("RGB")` of Pillow, as in timm: grey is replicated, a palette is looked up,
              CMYK, YCbCr and HSV are converted, and an alpha channel is dropped (what lies under
              transparent pixels shows; nothing is composited). ICC profiles are not applied.
luminance     for models of one channel, then `convert("L")`: 0.299 R + 0.587 G + 0.114 B (ITU-R
              BT.601) in 16-bit fixed point; it returns a grey picture unchanged.

Refused, because any choice would be a guess: more than one frame (of an MPO, the two-picture JPEG
of cameras, the first is by its standard the picture); 16 bits per channel in colour or with alpha (PNG,
TIFF), of which Pillow has dropped the low byte by the time it hands over the picture; 12, 32 and signed
bits, whose black and white nobody states (modes I and F); and 16-bit TIFF in which 0 is white.

Source: Pillow's `Image.convert`, `ImageOps.exif_transpose`; timm `timm/data/dataset.py`
(`input_img_mode="RGB"`), commit aa4b5850.
"""

import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vitref.errors import ImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the file formats that are opened. Left out on purpose: JPEG 2000, of which Pillow decodes
a truncated file to black without an error, and all that run another program (EPS)."""

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
"""Pillow's modes of at most 8 bits per channel that it converts to RGB without a colour profile."""

DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
"""Its modes of grey in 16 bits."""

_DEEP_AS_I = ("PNG", "PPM")  # formats whose 16-bit grey may come as mode I, which has 32 bits
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def from_file(path: Path, channels: int) -> Image.Image:
    """The picture in a file of one of `FORMATS`, of mode "RGB" (3 channels) or "L" (1).

    Raises ImageError, which names the file, when it cannot be read or decoded as one 8-bit picture.
    """
    where = str(path)
    _check_file(path)
    with _guarded(where), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        return _eight_bit(image, where, channels)


def from_image(image: Image.Image, where: str, channels: int) -> Image.Image:
    """The same for an image opened or made with Pillow, of any file format. `image` is not changed."""
    with _guarded(where):
        return _eight_bit(image, where, channels)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        raise _unreadable(str(path), problem) from None
    if not stat.S_ISREG(status.st_mode):
        found = "a folder" if stat.S_ISDIR(status.st_mode) else "something that is not a regular file"
    elif status.st_size == 0:
        found = "an empty file"
    else:
        return
    raise ImageError(str(path), found=found, expected="an image file", remedy="Give the path of an image.")


def _eight_bit(image: Image.Image, where: str, channels: int) -> Image.Image:
    _check_picture(image, where)
    upright = ImageOps.exif_transpose(image)
    rgb = (_scaled(upright) if _is_deep_grey(image) else upright).convert("RGB")
    return rgb if channels == 3 else rgb.convert("L")


def _scaled(image: Image.Image) -> Image.Image:
    """16-bit grey in 8 bits: value / 257, rounded; no value lies half-way."""
    return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode in DEEP or (image.mode == "I" and image.format in _DEEP_AS_I)


def _check_picture(image: Image.Image, where: str) -> None:
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        found, expected = f"{frames} frames", "a single picture"
        remedy = "Choose one: open it with Pillow, image.seek(k), and pass image.copy()."
    elif 0 in image.size:
        found, expected = f"{image.height} by {image.width} pixels", "at least one pixel"
        remedy = "Give a picture that is not empty."
    elif image.mode not in MODES and not _is_deep_grey(image):
        found, expected = f"Pillow mode {image.mode}", f"one of the modes {', '.join(MODES + DEEP)}"
        remedy = "Convert it to 8-bit RGB or grey first, in a way that suits its range of values."
    elif coding := _unsuited(image):
        found = f"samples coded as {coding}"
        expected = "at most 8 bits per channel, or grey of 16 bits in which 0 is black"
        remedy = "Convert it to 8 bits first: value / 257, rounded, when 16 bits span the full range."
    else:
        return
    raise ImageError(where, found=found, expected=expected, remedy=remedy)


def _unsuited(image: Image.Image) -> str:
    """How the file codes its samples, as far as Pillow tells before it decodes, if that cannot be used."""
    codings = [str(options) for _, _, _, options in getattr(image, "tile", ())]
    if not _is_deep_grey(image):
        return next((coding for coding in codings if ";16" in coding), "")
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return "16 bits in which 0 is white"
    return next((coding for coding in codings if ";12" in coding), "")


_ONE_AT_A_TIME = threading.Lock()
"""`warnings.catch_warnings` changes the whole process: two threads inside it would leave it changed."""


@contextmanager
def _guarded(where: str) -> Iterator[None]:
    """Every failure of Pillow or of the file system as an ImageError; Pillow's other warnings are dropped."""
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except MemoryError:
        raise out_of_memory(where) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(
            where,
            found=f"more than {Image.MAX_IMAGE_PIXELS} pixels",
            expected="a picture within Pillow's limit against decompression bombs",
            remedy="Reduce the picture first, or raise PIL.Image.MAX_IMAGE_PIXELS if its origin is trusted.",
        ) from None
    except UnidentifiedImageError:
        raise ImageError(
            where,
            found="a file in none of the supported formats, or with a damaged header",
            expected=f"an image file ({', '.join(FORMATS)})",
            remedy="Convert it to PNG or JPEG, or open it with Pillow and pass the image.",
        ) from None
    except Exception as problem:
        raise _unreadable(where, problem) from problem


def out_of_memory(where: str) -> ImageError:
    """For a picture that Python, Pillow or NumPy could not hold."""
    return ImageError(
        where,
        found="a picture for which the memory does not suffice",
        expected="a picture that fits into memory, as a copy too",
        remedy="Reduce the picture first, or free memory.",
    )


def _unreadable(where: str, problem: Exception) -> ImageError:
    reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return ImageError(
        where,
        found=f"an image that cannot be read ({reason})",
        expected="a complete, readable image",
        remedy="Check the path, the permissions and that the file is complete.",
    )
