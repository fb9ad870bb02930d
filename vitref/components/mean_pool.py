r"""Mean pooling: the average of the tokens from a given position on.

Forward    y = (1 / M) sum_{t >= start} x_t            M = T - start
Backward   dx_t = dy / M for t >= start, else 0
Derivation y depends on every pooled token with factor 1 / M, and on no other.
Shapes     x, dx: (N, T, D)   y, dy: (N, D)   start: a position in 0 .. T - 1
Raises     ValueError when x is not (N, T, D) or start is not in 0 .. T - 1.
           dtype in = dtype out.
Numerics   A sum of M terms, divided once.
Invariants A constant sequence gives that constant;  sum_t dx_t = dy.
Keeps      Only T and start.
Mistakes   The class token counted among the patches (start 0 instead of 1), or left out where the
           model averages all tokens; the mean over channels.
Source     timm/layers/pool1d.py (global_pool_nlc); vit_jax/models_vit.py (classifier "gap").

>>> import numpy as np
>>> y, saved = forward(np.array([[[9.0], [1.0], [3.0]]]), start=1)
>>> y
array([[2.]])
>>> backward(np.array([[4.0]]), saved).x[0, :, 0]
array([0., 2., 2.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()


class Saved(NamedTuple):
    tokens: int
    start: int


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, start: int, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if x.ndim != 3 or not 0 <= start < x.shape[1]:
        raise ValueError(f"x has shape {x.shape}, expected (N, T, D) with T above start {start}")
    return xp.mean(x[:, start:, :], axis=1), Saved(x.shape[1], start)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    n, d = dy.shape
    pooled = saved.tokens - saved.start
    share = xp.broadcast_to(xp.reshape(dy / pooled, (n, 1, d)), (n, pooled, d))
    return Grads(xp.concat([xp.zeros((n, saved.start, d), dtype=dy.dtype), share], axis=1))
