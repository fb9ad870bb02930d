r"""Softmax cross-entropy of logits against labels, the mean over the batch.

Forward    log p_k = x_k - m - log sum_j exp(x_j - m)  m = max_k x_k
           y = -(1/N) sum_n sum_k t_nk log p_nk        t: the labels as probabilities
Backward   dx_nk = (dy / N) (p_nk sum_j t_nj - t_nk)
Derivation d log p_j / d x_k = delta_jk - p_k, so -sum_j t_j (delta_jk - p_k) = p_k sum_j t_j - t_k.
           m cancels, whatever its value: it has no gradient.
Shapes     x, dx: (N, K)   y, dy: ()   labels: integers (N,), or probabilities (N, K)
Raises     ValueError when x is not (N, K) with N of at least 1, or labels are neither (N,) nor
           (N, K).  That integers lie in 0 .. K - 1 is the caller's duty (no branch on values here).
           dtype in = dtype out.
Numerics   Natural logarithm.  log p is taken before the exponential is formed, so a probability
           that underflows still has a finite loss.  p - t cancels for confident images: there the
           relative error of dx is large, the absolute one is not.
Invariants y >= 0;  sum_k dx = 0;  adding a constant to a row changes nothing.
Keeps      p and t.
Mistakes   The sum over the batch instead of the mean; softmax applied twice.
Source     The training loss of Dosovitskiy et al. 2020, arXiv:2010.11929, section 4.1 (fine-tuning);
           torch.nn.functional.cross_entropy with reduction "mean".

>>> import math, numpy as np
>>> x = np.array([[math.log(1.0), math.log(3.0)]])         # p = 1/4, 3/4
>>> y, saved = forward(x, labels=np.array([0]))
>>> math.isclose(y, math.log(4.0))
True
>>> backward(np.array(1.0), saved).x
array([[-0.75,  0.75]])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    p: Array
    t: Array


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, labels: Array, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    t = targets(x, labels, xp=xp)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return -xp.sum(t * log_p) / x.shape[0], Saved(xp.exp(log_p), t)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    p, t = saved
    return Grads((dy / p.shape[0]) * (p * xp.sum(t, axis=-1, keepdims=True) - t))


def targets(x: Array, labels: Array, *, xp: Namespace = NUMPY) -> Array:
    """Labels as probabilities (N, K): integers become rows with a single 1."""
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {x.shape}, expected (N, K), neither of them 0")
    n, k = x.shape
    if labels.ndim == 1:
        require_shape("labels", labels, (n,))
        return xp.astype(xp.reshape(labels, (n, 1)) == xp.arange(k), x.dtype)
    require_shape("labels", labels, (n, k))
    return labels
