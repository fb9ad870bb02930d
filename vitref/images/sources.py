"""What may be given as pictures: paths, Pillow images, uint8 arrays, and lists of these.

An array states its channels, so they must be the recipe's: (H, W, 3) is RGB; (H, W, 1) and, for a
recipe of one channel, (H, W) are luminance. Files and Pillow images are converted (see `decode`).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitref.errors import ImageError
from vitref.images import decode

Source: TypeAlias = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]
"""A path, a Pillow image, or a uint8 array (H, W, C) or (N, H, W, C)."""

Sources: TypeAlias = Source | Sequence[Source]
"""One source or a list or tuple of them, which may be mixed."""


def listed(images: Sources) -> list[tuple[str, Source]]:
    """(how an error message calls it, source) for every source. Raises ImageError for any other type."""
    if not isinstance(images, (list, tuple)):
        return [("image", _known("image", images))]
    if not images:
        found = f"an empty {type(images).__name__}"
        raise ImageError("image", found=found, expected="at least one picture", remedy="Give a picture.")
    return [(f"image[{i}]", _known(f"image[{i}]", item)) for i, item in enumerate(images)]


def pictures(images: Sources, channels: int) -> Iterator[tuple[str, Image.Image]]:
    """(name, upright Pillow image of mode "RGB" or "L") for every picture in `images`, in order."""
    for where, source in listed(images):
        if isinstance(source, np.ndarray):
            yield from _of_array(source, where, channels)
        elif isinstance(source, Image.Image):
            yield where, decode.from_image(source, where, channels)
        else:
            path = _path(source, where)
            yield str(path), decode.from_file(path, channels)


def _known(where: str, source: Any) -> Source:
    accepted = isinstance(source, (str, os.PathLike, Image.Image, np.ndarray))
    if accepted and not isinstance(source, np.ma.MaskedArray):
        return source  # type: ignore[no-any-return]
    kind = type(source)
    remedy = "Pass one of these; numpy.asarray(...) makes an array of most others."
    if hasattr(source, "__dlpack__"):
        remedy = "Stack preprocessed images into one array (N, C, H, W), which is taken as it is."
    elif isinstance(source, (list, tuple)):
        remedy = "Give the images alone, in one list."
    raise ImageError(
        where,
        found=f"an object of type {kind.__module__}.{kind.__qualname__}",
        expected="a path, a Pillow image, a NumPy array, or a flat list of these",
        remedy=remedy,
    )


def _path(source: str | os.PathLike[str], where: str) -> Path:
    text = os.fsdecode(source)
    if not text:  # Path("") is the folder in which Python runs
        remedy = "Give the path of an image."
        raise ImageError(where, found="an empty path", expected="an image file", remedy=remedy)
    return Path(text)


def _of_array(array: npt.NDArray[np.uint8], where: str, channels: int) -> Iterator[tuple[str, Image.Image]]:
    _check_array(array, where, channels)
    if array.ndim == 4:
        for i, one in enumerate(array):
            yield f"{where}[{i}]", _image(one)
    else:
        yield where, _image(array)


def _image(array: npt.NDArray[np.uint8]) -> Image.Image:
    grey = array.ndim == 3 and array.shape[2] == 1
    return Image.fromarray(array[:, :, 0] if grey else array)


def _check_array(array: npt.NDArray[Any], where: str, channels: int) -> None:
    found = f"an array of shape {array.shape} and dtype {array.dtype}"
    flat = array.ndim == 2 and channels == 1
    shapes = f"(H, W, {channels}) or (N, H, W, {channels})" + (" or (H, W)" if channels == 1 else "")
    if array.dtype != np.uint8:
        remedy = (
            "Pass pixels as uint8; a float array goes to the model directly, as one array, not in a list."
        )
    elif not flat and array.ndim not in (3, 4):
        remedy = "Give the axes rows, columns, channels, and the batch in front if there is one."
    elif not flat and array.shape[-1] != channels:
        remedy = "Put the channels last and give as many as the model takes."
        if array.shape[-3] == channels:
            remedy = "The channels come first here: permute the array to put them last."
    elif 0 in array.shape:
        remedy = "Give at least one picture of at least one pixel."
    else:
        return
    raise ImageError(where, found=found, expected=f"pixels: uint8 {shapes}", remedy=remedy)
