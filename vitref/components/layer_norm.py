r"""Layer normalisation over the last axis C.

Forward    mu = mean_c x     v = mean_c (x - mu)^2     r = (v + eps)^(-1/2)
           xhat = (x - mu) r                           y = weight * xhat + bias
Backward   g = dy * weight                             (the cotangent of xhat)
           dbias = sum_rows dy                         dweight = sum_rows dy * xhat
           dx = r * (g - mean_c g - xhat * mean_c(g * xhat))
Derivation x_c reaches xhat_j directly (r), through mu (-r/C) and through r, where
           dr/dx_c = -r^2 xhat_c / C.  Together d xhat_j / d x_c
           = r (delta_jc - 1/C - xhat_j xhat_c / C): symmetric in j and c, so dx = J g.
Shapes     x, y, dy, dx, xhat: (..., C)   r: (..., 1)   weight, bias: (C,)
Raises     ValueError when weight or bias is not (C,), or dy not as y.  No cast: dtype in = dtype out.
Numerics   v is biased (divide by C) and two-pass: mean(x^2) - mu^2 in float32 is off by
           2e-3 at |mu|/std = 100 and has no correct digit at 1e4.  Not xp.var: it squares
           a modulus, so complex-step checks would pass through it silently wrong.
           A constant row gives xhat = 0, y = bias.
Invariants mean_c xhat = 0;  mean_c xhat^2 = v/(v + eps);  sum_c dx = 0.
Keeps      xhat and r: one array the size of x, plus one per row.
Mistakes   eps outside the root; Bessel's C-1; the two mean terms of dx left out.
Source     Ba, Kiros, Hinton 2016, arXiv:1607.06450.  eps differs by checkpoint family
           (1e-5, 1e-6, 1e-12 all occur), so it is required, never defaulted.

>>> import numpy as np
>>> x = np.array([[1.0, 3.0]])                      # mu = 2, v = 1
>>> y, saved = forward(x, np.array([10.0, 10.0]), np.array([0.0, 1.0]), eps=3.0)
>>> y                                               # r = (1 + 3)^(-1/2) = 1/2, xhat = -1/2, 1/2
array([[-5.,  6.]])
>>> backward(np.array([[1.0, 0.0]]), saved).x       # g = (10, 0): 1/2 (10 - 5 - (-1/2)(-5/2), ...)
array([[ 1.875, -1.875]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ("weight", "bias")


class Saved(NamedTuple):
    xhat: Array
    r: Array
    weight: Array


class Grads(NamedTuple):
    x: Array
    weight: Array
    bias: Array


def forward(
    x: Array, weight: Array, bias: Array, *, eps: float, xp: Namespace = NUMPY
) -> tuple[Array, Saved]:
    require_shape("weight", weight, (x.shape[-1],))
    require_shape("bias", bias, (x.shape[-1],))
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    r = 1 / xp.sqrt(variance + eps)
    xhat = centred * r
    return xhat * weight + bias, Saved(xhat, r, weight)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    xhat, r, weight = saved
    require_shape("dy", dy, tuple(xhat.shape))
    rows = tuple(range(dy.ndim - 1))
    g = dy * weight
    g_mean = xp.mean(g, axis=-1, keepdims=True)
    g_along = xp.mean(g * xhat, axis=-1, keepdims=True)
    dx = r * (g - g_mean - xhat * g_along)
    return Grads(dx, xp.sum(dy * xhat, axis=rows), xp.sum(dy, axis=rows))
