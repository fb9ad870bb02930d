r"""Unfold an image into a sequence of flattened patches, row by row.

Forward    y_{t, (c, i, j)} = image_{c, r h + i, s w + j}        t = r S + s
           for patch row r < R = floor(H / h) and patch column s < S = floor(W / w)
Backward   dimage puts every dy back where its pixel came from; pixels that no patch reads get 0
Derivation Each output is a copy of one pixel and each pixel is copied at most once: the map is a
           permutation (with omissions), and the transpose of a permutation is its inverse.
Shapes     image, dimage: (N, C, H, W)   y, dy: (N, R S, C h w)   patch_size: (h, w) pixels
Raises     ValueError when the image is not (N, C, H, W) or smaller than a patch.
           dtype in = dtype out.
Numerics   Exact: no arithmetic.
Invariants With H = R h and W = S w:  sum y^2 = sum image^2,  backward(forward(image)) = image.
Keeps      Only shapes.
Mistakes   Rows and columns of the grid swapped (square images hide it in the shapes); the order
           (i, j, c) inside a patch; patches in block order instead of row by row.
Source     Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1.  A remainder of H by h or W by w
           at the bottom or right is not read, as in a convolution of stride (h, w) without padding.

>>> import numpy as np
>>> image = np.arange(8.0).reshape(1, 1, 2, 4)                       # rows 0 1 2 3 / 4 5 6 7
>>> y, saved = forward(image, patch_size=(2, 2))
>>> y
array([[[0., 1., 4., 5.],
        [2., 3., 6., 7.]]])
>>> bool((backward(y, saved).image == image).all())
True
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()


class Saved(NamedTuple):
    image_shape: tuple[int, int, int, int]
    patch_size: tuple[int, int]


class Grads(NamedTuple):
    image: Array


def forward(image: Array, *, patch_size: tuple[int, int], xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if image.ndim != 4 or image.shape[2] < patch_size[0] or image.shape[3] < patch_size[1]:
        raise ValueError(
            f"image has shape {image.shape}, expected (N, C, H, W) of at least one patch {patch_size}"
        )
    n, c, height, width = image.shape
    (h, w), rows, columns = patch_size, height // patch_size[0], width // patch_size[1]
    x = xp.reshape(image[:, :, : rows * h, : columns * w], (n, c, rows, h, columns, w))
    x = xp.permute_dims(x, (0, 2, 4, 1, 3, 5))
    return xp.reshape(x, (n, rows * columns, c * h * w)), Saved(image.shape, patch_size)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    (n, c, height, width), (h, w) = saved
    rows, columns = height // h, width // w
    dx = xp.reshape(dy, (n, rows, columns, c, h, w))
    dx = xp.permute_dims(dx, (0, 3, 1, 4, 2, 5))
    dx = xp.reshape(dx, (n, c, rows * h, columns * w))
    right = xp.zeros((n, c, rows * h, width - columns * w), dtype=dy.dtype)
    bottom = xp.zeros((n, c, height - rows * h, width), dtype=dy.dtype)
    return Grads(xp.concat([xp.concat([dx, right], axis=3), bottom], axis=2))
