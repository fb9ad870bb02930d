r"""Dropout with a given mask: what is kept is scaled up so that the expectation stays.

Forward    y = mask * x / (1 - rate)
Backward   dx = mask * dy / (1 - rate)
Derivation y is x times a constant, element by element; mask and rate are inputs, not variables.
Shapes     x, y, dy, dx, mask: all the same (...); mask holds 0 (drop) and 1 (keep)
Raises     ValueError when mask or dy has not the shape of x, or rate is not in 0 <= rate < 1.
           dtype in = dtype out (mask is given in it).
Numerics   1 / (1 - rate) is computed once, as a Python float.
Invariants With a mask of ones and rate 0, y = x;  the map is its own transpose.
Keeps      mask and the scale.
Mistakes   The scale forgotten (then evaluation must scale down, which ViT code does not do); a new
           mask drawn for the backward pass; active in evaluation.
Source     Srivastava et al. 2014, JMLR 15:1929; the scaled ("inverted") form is that of torch and flax.

>>> import numpy as np
>>> y, saved = forward(np.array([1.0, 2.0, 3.0]), mask=np.array([1.0, 0.0, 1.0]), rate=0.5)
>>> y
array([2., 0., 6.])
>>> backward(np.array([1.0, 1.0, 10.0]), saved).x
array([ 2.,  0., 20.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    mask: Array
    scale: float


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, mask: Array, rate: float, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    require_shape("mask", mask, tuple(x.shape))
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}, expected at least 0 and below 1")
    scale = 1 / (1 - rate)
    return x * mask * scale, Saved(mask, scale)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    require_shape("dy", dy, tuple(saved.mask.shape))
    return Grads(dy * saved.mask * saved.scale)
