"""unfold and patch_projection together are a strided convolution, forward and backward."""

import numpy as np
import pytest
from scipy.signal import correlate  # type: ignore[import-untyped]

from vitref.array import HostArray
from vitref.components import patch_projection, unfold
from vitref.testing import tolerance

Shape = tuple[int, ...]

RNG = np.random.default_rng(0)

SHAPES = [((2, 3, 8, 12), (4, 3)), ((2, 1, 9, 7), (2, 3)), ((1, 2, 5, 5), (5, 5)), ((3, 2, 4, 6), (1, 1))]
"""Image and patch: non-square, with remainders, one patch, one pixel per patch."""


def convolution(image: HostArray, kernel: HostArray, bias: HostArray) -> HostArray:
    """(N, D, R, S): every correlation of image and kernel, of which every (h, w)-th is kept."""
    (h, w), images = kernel.shape[2:], []
    for pixels in image:
        planes = [correlate(pixels, one, mode="valid", method="direct")[0, ::h, ::w] for one in kernel]
        images.append(np.stack(planes) + bias[:, None, None])
    return np.stack(images)


@pytest.mark.parametrize(("image_shape", "patch"), SHAPES)
def test_patch_embedding_is_a_strided_convolution(image_shape: Shape, patch: tuple[int, int]) -> None:
    image, bias = RNG.standard_normal(image_shape), RNG.standard_normal(5)
    kernel = RNG.standard_normal((5, image_shape[1], *patch))
    x, _ = unfold.forward(image, patch_size=patch)
    y, _ = patch_projection.forward(x, kernel, bias)
    expected = convolution(image, kernel, bias)
    by_row = expected.reshape(len(image), 5, -1).transpose(0, 2, 1)
    assert y.shape == by_row.shape
    assert np.max(np.abs(y - by_row)) <= tolerance("float64", kernel[0].size) * np.max(np.abs(by_row))


@pytest.mark.parametrize(("image_shape", "patch"), SHAPES)
def test_pixels_that_no_patch_reads_have_no_gradient(image_shape: Shape, patch: tuple[int, int]) -> None:
    image = RNG.standard_normal(image_shape)
    y, saved = unfold.forward(image, patch_size=patch)
    dimage = unfold.backward(y, saved).image
    h, w = (length - length % step for length, step in zip(image_shape[2:], patch, strict=True))
    assert np.array_equal(dimage[:, :, :h, :w], image[:, :, :h, :w])
    assert not dimage[:, :, h:].any()
    assert not dimage[:, :, :, w:].any()
