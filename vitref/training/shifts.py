"""Augmentation by shifts: a picture moved by whole pixels, the background filling what becomes free.

What is moved beyond the border is lost. Nothing is drawn here: the shifts are an input.
"""

import numpy as np
import numpy.typing as npt


def shifted(
    pictures: npt.NDArray[np.uint8], shifts: npt.NDArray[np.integer], *, background: int
) -> npt.NDArray[np.uint8]:
    """Every picture moved down and to the right by its own shift.

    pictures    (N, H, W, C)
    shifts      (N, 2): rows down and columns to the right, negative for up and left
    background  the value of the pixels that nothing is moved to

    Raises ValueError when the shapes do not agree.

    >>> shifted(np.array([[[[1], [2]], [[3], [4]]]], np.uint8), np.array([[1, -1]]), background=9)[0, :, :, 0]
    array([[9, 9],
           [2, 9]], dtype=uint8)
    """
    if pictures.ndim != 4 or shifts.shape != (len(pictures), 2):
        raise ValueError(f"shapes {pictures.shape} and {shifts.shape}, expected (N, H, W, C) and (N, 2)")
    n, height, width, _ = pictures.shape
    rows, from_row = _sources(shifts[:, 0], height)
    columns, from_column = _sources(shifts[:, 1], width)
    moved = pictures[np.arange(n)[:, None, None], from_row[:, :, None], from_column[:, None, :]]
    inside = rows[:, :, None] & columns[:, None, :]
    return np.where(inside[..., None], moved, np.uint8(background))


def _sources(
    shift: npt.NDArray[np.integer], size: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.integer]]:
    """For every place of every picture (N, size): whether something is moved there, and from where."""
    source = np.arange(size) - shift[:, None]
    return (source >= 0) & (source < size), np.clip(source, 0, size - 1)
