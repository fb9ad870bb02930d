r"""Projection of unfolded patches: the linear layer whose weight is stored as a convolution kernel.

Forward    y = x W^T + bias                            W = weight flattened to (D, C h w)
Backward   dx = dy W
           dweight = (sum_rows dy^T x), unflattened     dbias = sum_rows dy
Derivation A convolution of kernel (h, w) and stride (h, w) meets every pixel once: its output at
           patch t is sum over (c, i, j) of weight_dcij pixel_tcij.  With the pixels of a patch in
           the order (c, i, j), which `unfold` gives, this is `linear` on the flattened kernel;
           flattening moves no value, so the gradient is linear's, put back into shape.
Shapes     x, dx: (N, T, C h w)   y, dy: (N, T, D)   weight: (D, C, h, w)   bias: (D,)
Raises     ValueError when weight does not flatten to (D, C h w) or bias is not (D,).
           dtype in = dtype out.
Numerics   As `linear`, with sums of length C h w (768 for 16 x 16 RGB).
Invariants unfold + patch_projection = convolution of stride (h, w) without padding.
Keeps      x and weight.
Mistakes   Pixels in the order (i, j, c) against a kernel in the order (c, i, j); an HWIO kernel
           copied as OIHW.
Source     Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1; timm/layers/patch_embed.py (Conv2d).

>>> import numpy as np
>>> kernel = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])            # D = C = 1, 2 x 2
>>> y, saved = forward(np.array([[[1.0, 2.0, 3.0, 4.0]]]), kernel, np.array([0.5]))
>>> y
array([[[4321.5]]])
>>> backward(np.array([[[2.0]]]), saved).weight
array([[[[2., 4.],
         [6., 8.]]]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace
from vitref.components import linear

PARAMS = ("weight", "bias")


class Saved(NamedTuple):
    linear: linear.Saved
    kernel_shape: tuple[int, ...]


class Grads(NamedTuple):
    x: Array
    weight: Array
    bias: Array | None


def forward(
    x: Array, weight: Array, bias: Array | None = None, *, xp: Namespace = NUMPY
) -> tuple[Array, Saved]:
    flat = xp.reshape(weight, (weight.shape[0], -1))
    y, saved = linear.forward(x, flat, bias, xp=xp)
    return y, Saved(saved, weight.shape)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    dx, dflat, dbias = linear.backward(dy, saved.linear, xp=xp)
    return Grads(dx, xp.reshape(dflat, saved.kernel_shape), dbias)
