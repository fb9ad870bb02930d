"""Shifted pictures, compared with pictures moved by slicing."""

import numpy as np
import numpy.typing as npt
import pytest

from vitref.training.shifts import shifted


def moved(picture: npt.NDArray[np.uint8], down: int, right: int, background: int) -> npt.NDArray[np.uint8]:
    """A wide margin of background around the picture, and the window moved the other way."""
    margin = 9
    wide = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=background)
    height, width, _ = picture.shape
    top, left = margin - down, margin - right
    return wide[top : top + height, left : left + width]


@pytest.mark.parametrize("background", [0, 7])
def test_every_shift_moves_as_slicing_does(background: int) -> None:
    every = [(down, right) for down in range(-6, 7) for right in range(-8, 9)]
    pictures = np.random.default_rng(0).integers(0, 256, (len(every), 5, 7, 2), dtype=np.uint8)
    result = shifted(pictures, np.array(every), background=background)
    assert result.dtype.name == "uint8"
    assert result.shape == pictures.shape
    for picture, (down, right), found in zip(pictures, every, result, strict=True):
        np.testing.assert_array_equal(found, moved(picture, down, right, background))


@pytest.mark.parametrize(
    ("pictures", "shifts"), [((2, 8, 8), (2, 2)), ((2, 8, 8, 1), (1, 2)), ((2, 8, 8, 1), (2, 1))]
)
def test_shapes_that_do_not_agree(pictures: tuple[int, ...], shifts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        shifted(np.zeros(pictures, np.uint8), np.zeros(shifts, np.int64), background=0)
