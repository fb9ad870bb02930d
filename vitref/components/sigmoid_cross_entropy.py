r"""Sigmoid cross-entropy: one yes-or-no decision per class, the mean over the batch.

Forward    y = (1/N) sum_n sum_k [ softplus(x_nk) - t_nk x_nk ]
           softplus(x) = log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|))
Backward   dx_nk = (dy / N) (sigmoid(x_nk) - t_nk)
Derivation -t log s - (1 - t) log(1 - s) with s = sigmoid(x), log s = x - softplus(x) and
           log(1 - s) = -softplus(x) is softplus(x) - t x; softplus' = sigmoid.
Shapes     x, dx: (N, K)   y, dy: ()   labels: integers (N,), or numbers from 0 to 1, (N, K)
Raises     ValueError when x is not (N, K) with N of at least 1, or labels are neither (N,) nor
           (N, K).  dtype in = dtype out.
Numerics   log(1 + exp x) overflows for large x, and loses exp x for negative ones: 1 + exp(-17) is 1 in
           float32. With m = max(x, 0), -|x| is (x - m) - m without rounding; the loss is added as
           (m - t x) + log1p(exp(-|x|)), where nothing large cancels, and sigmoid(x) is
           exp(x - m) / (1 + exp(-|x|)).
Invariants y >= 0;  0 <= sigmoid <= 1.
Keeps      sigmoid(x) and t.
Mistakes   The mean over the classes instead of their sum (torch's default reduction; a factor K);
           softmax in place of sigmoid.
Source     big_vision/utils.py (sigmoid_xent): summed over classes, averaged over the batch.

>>> import math, numpy as np
>>> x = np.array([[0.0, math.log(3.0)]])                   # sigmoid: 1/2, 3/4
>>> y, saved = forward(x, labels=np.array([1]))
>>> math.isclose(y, math.log(2.0) + math.log(4.0 / 3.0))   # -log(1 - 1/2) - log(3/4)
True
>>> backward(np.array(1.0), saved).x.round(12)
array([[ 0.5 , -0.25]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace
from vitref.components import cross_entropy

PARAMS = ()


class Saved(NamedTuple):
    sigmoid: Array
    t: Array


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, labels: Array, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    t = cross_entropy.targets(x, labels, xp=xp)
    zero = xp.zeros(x.shape, dtype=x.dtype)
    m = xp.max(xp.stack([x, zero]), axis=0)
    e = xp.exp((x - m) - m)
    return xp.sum((m - t * x) + xp.log1p(e)) / x.shape[0], Saved(xp.exp(x - m) / (1 + e), t)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    return Grads((dy / saved.t.shape[0]) * (saved.sigmoid - saved.t))
