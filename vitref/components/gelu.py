r"""GELU, the Gaussian error linear unit, in its exact and its tanh form.

Forward    y = x P(x)
           form "erf"    P(x) = (1 + erf(x / sqrt 2)) / 2              the normal distribution
           form "tanh"   P(x) = (1 + tanh u) / 2,   u = sqrt(2/pi) (x + 0.044715 x^3)
Backward   dx = dy (P(x) + x P'(x))
           form "erf"    P'(x) = exp(-x^2 / 2) / sqrt(2 pi)            the normal density
           form "tanh"   P'(x) = 2 P (1 - P) u',    u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)
Derivation The product rule gives P + x P'.  erf'(z) = 2/sqrt(pi) exp(-z^2) with z = x / sqrt 2.
           (tanh u)' = (1 - tanh^2 u) u', and 1 - tanh^2 u = (1 - tanh u)(1 + tanh u) = 4 P (1 - P).
Shapes     x, y, dy, dx: (...), element by element
Raises     ValueError when form is neither "erf" nor "tanh", or dy not as y.
           dtype in = dtype out.
Numerics   The forms differ by at most 4.73e-4 (at |x| = 2.699), their derivatives by at most
           8.68e-4 (at |x| = 2.019).  For large negative x, 1 + erf cancels: absolute, not
           relative accuracy.
Invariants y(x) - y(-x) = x;  y(0) = 0;  y'(0) = 1/2;  y >= -0.1701.
Keeps      x and P(x).
Mistakes   The other form, mostly by a framework's default (torch: erf; JAX, ggml: tanh);
           sigmoid(1.702 x) for P; the derivative of one form with the forward of the other.
Source     Hendrycks, Gimpel 2016, arXiv:1606.08415.  Official sources run the same Google weights
           with either form (timm, transformers: erf; vit_jax: tanh), so it is never defaulted.

>>> import numpy as np
>>> x = np.array([0.0, 1.0])
>>> y, saved = forward(x, form="erf")
>>> y.round(4)                                      # P(1) = 0.8413, the normal distribution at 1
array([0.    , 0.8413])
>>> backward(np.ones(2), saved).x.round(4)          # 0.8413 + 1 * 0.2420, the normal density at 1
array([0.5   , 1.0833])
>>> forward(x, form="tanh")[0].round(4)
array([0.    , 0.8412])
"""

import math
from typing import Literal, NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


class Saved(NamedTuple):
    x: Array
    p: Array
    form: str


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, form: Literal["erf", "tanh"], xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if form not in ("erf", "tanh"):
        raise ValueError(f"form is {form!r}, expected 'erf' or 'tanh'")
    if form == "erf":
        p = 0.5 * (1 + xp.erf(x * math.sqrt(0.5)))
    else:
        p = 0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x))))
    return x * p, Saved(x, p, form)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    x, p, form = saved
    require_shape("dy", dy, tuple(x.shape))
    if form == "erf":
        slope = xp.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    else:
        slope = 2 * p * (1 - p) * (SQRT_2_OVER_PI * (1 + 3 * CUBIC * (x * x)))
    return Grads(dy * (p + x * slope))
