"""Compiled loops over the rows of C-contiguous 2-D arrays, one thread each: whatever is not a product.

Functions without an underscore write into arrays that they are given, and return nothing. An array that is
written shares no memory with another: a loop may read what it has overwritten. Compiled at the first call for
each dtype (float32, float64) and kept in Numba's cache; no interpreter lock is held. What is written into a
row depends on no other row. Functions `with_sums` may do their additions in any order.
"""

import math
from typing import Any

import numpy as np

from vitref.backends.numba_kernels.special import cumulative, exponential, larger, plain, with_sums
from vitref.components.gelu import CUBIC, SQRT_2_OVER_PI

DENSITY = 1 / math.sqrt(2 * math.pi)

COMPILED_WITH = "fdb9e77602de6f3e"
"""A digest of `special.py` and GELU's constants: Numba's cache sees changes of this file alone."""


@plain
def _columns(x: Any, first: Any, last: Any) -> Any:
    """first .. last - 1, or to the end; unsigned, so that no index is taken as one from the end."""
    return range(np.uint64(first), np.uint64(x.shape[1] if last is None else last))


# LayerNorm


@with_sums
def _moments(x: Any, i: int, eps: float) -> Any:
    """Mean of row i, and 1 / sqrt(variance + eps); the variance in a second pass."""
    number, width = x.dtype.type, x.shape[1]
    mean, variance = number(0), number(0)
    for j in range(width):
        mean += x[i, j]
    mean /= number(width)
    for j in range(width):
        centred = x[i, j] - mean
        variance += centred * centred
    return mean, number(1) / math.sqrt(variance / number(width) + number(eps))


@plain
def layer_norm(x: Any, weight: Any, bias: Any, eps: float, y: Any, xhat: Any, r: Any) -> None:
    """y <- weight * xhat + bias; xhat (as x) and r (rows,) are kept unless None."""
    for i in range(x.shape[0]):
        mean, scale = _moments(x, i, eps)
        if xhat is not None:
            r[i] = scale
        for j in range(x.shape[1]):
            normal = (x[i, j] - mean) * scale
            if xhat is not None:
                xhat[i, j] = normal
            y[i, j] = normal * weight[j] + bias[j]


@plain
def scale_shift(xhat: Any, weight: Any, bias: Any, y: Any) -> None:
    """y <- weight * xhat + bias: a LayerNorm's output again."""
    for i in range(xhat.shape[0]):
        for j in range(xhat.shape[1]):
            y[i, j] = xhat[i, j] * weight[j] + bias[j]


@with_sums
def layer_norm_backward(
    dy: Any, xhat: Any, r: Any, weight: Any, add: Any, dx: Any, dweight: Any, dbias: Any
) -> None:
    """dx <- LayerNorm's cotangent (+ add, unless None); dweight and dbias (C,) are added to."""
    number = dy.dtype.type
    rows, width = dy.shape
    for i in range(rows):
        g_mean, g_along = number(0), number(0)
        for j in range(width):
            d, normal = dy[i, j], xhat[i, j]
            dweight[j] += d * normal
            dbias[j] += d
            g = d * weight[j]
            dx[i, j] = g
            g_mean += g
            g_along += g * normal
        g_mean /= number(width)
        g_along /= number(width)
        scale = r[i]
        if add is not None:
            for j in range(width):
                dx[i, j] = add[i, j] + scale * (dx[i, j] - g_mean - xhat[i, j] * g_along)
        else:
            for j in range(width):
                dx[i, j] = scale * (dx[i, j] - g_mean - xhat[i, j] * g_along)


# Softmax


@plain
def _largest(s: Any, i: int) -> Any:
    """The maximum of row i; NaN when it has one."""
    largest = s[i, 0]
    for j in range(s.shape[1]):
        largest = larger(largest, s[i, j])
    return largest


@with_sums
def softmax(s: Any, scale: float = 1.0) -> None:
    """s <- softmax of scale * s, row by row; scale is positive."""
    number = s.dtype.type
    rows, width = s.shape
    for i in range(rows):
        largest = _largest(s, i)
        total = number(0)
        for j in range(width):
            e = exponential(number(scale) * (s[i, j] - largest))
            s[i, j] = e
            total += e
        share = number(1) / total
        for j in range(width):
            s[i, j] *= share


@with_sums
def softmax_backward(d: Any, p: Any, scale: float = 1.0) -> None:
    """d <- scale * p * (d - sum p d), row by row: from the cotangent of softmax's result p to that of s."""
    number = d.dtype.type
    rows, width = d.shape
    for i in range(rows):
        total = number(0)
        for j in range(width):
            total += p[i, j] * d[i, j]
        for j in range(width):
            d[i, j] = number(scale) * p[i, j] * (d[i, j] - total)


# GELU


@plain
def _erf(x: Any, number: Any) -> Any:
    """P(x) of the exact form, and its derivative times x."""
    near = number(-40) if x < number(-40) else (number(40) if x > number(40) else x)
    density = exponential(number(-0.5) * near * near)
    return cumulative(x, density), near * density * number(DENSITY)


@plain
def _tanh(x: Any, number: Any) -> Any:
    """P(x) of the tanh form, (1 + tanh u) / 2 = 1 / (1 + exp(-2u)), and its derivative times x."""
    near = number(-40) if x < number(-40) else (number(40) if x > number(40) else x)
    u = number(SQRT_2_OVER_PI) * (near + number(CUBIC) * (near * near * near))
    e = exponential(number(-2) * (number(-43) if u < number(-43) else u))
    p = number(1) / (number(1) + e)
    slope = number(2) * p * (e * p) * number(SQRT_2_OVER_PI)
    return p, near * slope * (number(1) + number(3 * CUBIC) * (near * near))


@plain
def gelu_erf(u: Any, bias: Any, slope: Any, y: Any = None, first: int = 0, last: Any = None) -> None:
    """y, or u where y is None, <- gelu(u + bias) in its exact form; slope (as u) <- its derivative.

    In columns first .. last - 1 of u, all of them unless given; y has these columns alone. bias has one
    number for each row. bias and slope may be None.
    """
    number, start = u.dtype.type, np.uint64(first)
    for i in range(u.shape[0]):
        for j in _columns(u, first, last):
            x = u[i, j] if bias is None else u[i, j] + bias[i]
            p, along = _erf(x, number)
            if slope is not None:
                slope[i, j] = p + along
            if y is not None:
                y[i, j - start] = x * p
            else:
                u[i, j] = x * p


@plain
def gelu_tanh(u: Any, bias: Any, slope: Any, y: Any = None, first: int = 0, last: Any = None) -> None:
    """As `gelu_erf`, in the tanh form."""
    number, start = u.dtype.type, np.uint64(first)
    for i in range(u.shape[0]):
        for j in _columns(u, first, last):
            x = u[i, j] if bias is None else u[i, j] + bias[i]
            p, along = _tanh(x, number)
            if slope is not None:
                slope[i, j] = p + along
            if y is not None:
                y[i, j - start] = x * p
            else:
                u[i, j] = x * p


@plain
def gelu_erf_backward(u: Any, bias: Any, d: Any, first: int, last: int) -> None:
    """d <- d * gelu'(u + bias), and u <- gelu(u + bias) again, in columns first .. last - 1."""
    number = u.dtype.type
    for i in range(u.shape[0]):
        for j in _columns(u, first, last):
            x = u[i, j] if bias is None else u[i, j] + bias[i]
            p, along = _erf(x, number)
            d[i, j] *= p + along
            u[i, j] = x * p


@plain
def gelu_tanh_backward(u: Any, bias: Any, d: Any, first: int, last: int) -> None:
    """As `gelu_erf_backward`, in the tanh form."""
    number = u.dtype.type
    for i in range(u.shape[0]):
        for j in _columns(u, first, last):
            x = u[i, j] if bias is None else u[i, j] + bias[i]
            p, along = _tanh(x, number)
            d[i, j] *= p + along
            u[i, j] = x * p


GELU = {"erf": gelu_erf, "tanh": gelu_tanh}
"""Form of `vitref.components.gelu` -> loop (u, bias, slope, y, first, last)."""

GELU_BACKWARD = {"erf": gelu_erf_backward, "tanh": gelu_tanh_backward}
"""The same -> loop (u, bias, d, first, last)."""


# Sums


@plain
def add_to_rows(y: Any, bias: Any, first: int, last: int) -> None:
    """y <- y + bias, one number for each row, in columns first .. last - 1."""
    for i in range(y.shape[0]):
        for j in _columns(y, first, last):
            y[i, j] += bias[i]


@plain
def add_residual(z: Any, bias: Any, gamma: Any, branch: Any, residual: Any, y: Any, first: int) -> None:
    """y <- residual + gamma * branch, branch <- z^T + bias, in the columns from `first` that z has as rows.

    y, residual and branch are (rows, C), z (some columns, at least `rows`), bias and gamma (C,); residual,
    gamma and branch may be None.
    """
    start = np.uint64(first)
    for i in range(y.shape[0]):
        for k in range(np.uint64(z.shape[0])):
            j = start + k
            a = z[k, i] + bias[j]
            if branch is not None:
                branch[i, j] = a
            if gamma is not None:
                a *= gamma[j]
            y[i, j] = a if residual is None else residual[i, j] + a


@plain
def transpose(x: Any, y: Any, first: int) -> None:
    """y (C, at least first + rows) <- x^T (rows, C), in the columns from `first`."""
    start = np.uint64(first)
    for i in range(np.uint64(x.shape[0])):
        for j in range(x.shape[1]):
            y[j, start + i] = x[i, j]


@plain
def layer_scale_backward(dy: Any, branch: Any, gamma: Any, dx: Any, dgamma: Any) -> None:
    """dx <- gamma * dy; dgamma (C,) <- dgamma + the sum of dy * branch over the rows."""
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            dgamma[j] += dy[i, j] * branch[i, j]
            dx[i, j] = gamma[j] * dy[i, j]


# Loss and optimiser


@with_sums
def cross_entropy(x: Any, t: Any, p: Any, loss: Any) -> None:
    """p <- softmax of the logits x; loss (rows,) <- -sum t log p of each row; t: labels as probabilities."""
    number = x.dtype.type
    rows, width = x.shape
    for i in range(rows):
        largest = _largest(x, i)
        total = number(0)
        for j in range(width):
            e = exponential(x[i, j] - largest)
            p[i, j] = e
            total += e
        log_total, share, sum_ = math.log(total), number(1) / total, number(0)
        for j in range(width):
            sum_ += t[i, j] * ((x[i, j] - largest) - log_total)
            p[i, j] *= share
        loss[i] = -sum_


@with_sums
def cross_entropy_backward(p: Any, t: Any, scale: float, dx: Any) -> None:
    """dx <- scale * (p * sum t - t); scale: the loss's cotangent divided by the number of rows."""
    number = p.dtype.type
    rows, width = p.shape
    for i in range(rows):
        total = number(0)
        for j in range(width):
            total += t[i, j]
        for j in range(width):
            dx[i, j] = number(scale) * (p[i, j] * total - t[i, j])


@plain
def adamw(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    rate: Any,
    beta1: Any,
    beta2: Any,
    eps: Any,
    decay: Any,
    unbias1: Any,
    unbias2: Any,
) -> None:
    """One step of `vitref.training.adamw` in place, on 1-D arrays: p, m and v change, g is read.

    unbias1 = 1 / (1 - beta1^t) and unbias2 = 1 / (1 - beta2^t); decay is 0 where none applies.
    """
    number = p.dtype.type
    b1, b2, c1, c2 = number(beta1), number(beta2), number(1 - beta1), number(1 - beta2)
    for i in range(p.size):
        m[i] = b1 * m[i] + c1 * g[i]
        v[i] = b2 * v[i] + c2 * (g[i] * g[i])
        step = m[i] * number(unbias1) / (math.sqrt(v[i] * number(unbias2)) + number(eps))
        p[i] = p[i] - number(rate) * (step + number(decay) * p[i])
