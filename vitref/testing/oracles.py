"""What each component computes, a second time, element by element.

A component whose forward pass is wrong and whose backward pass fits it satisfies every adjoint test.
These functions notice: plain loops over indices, float64, and where a formula has another form (LayerNorm
by pairwise differences, GELU by erfc, softmax by ratios) that form. Slow on purpose, and never shared
with a component. Each takes the component's arguments and gives its output.
"""

import math

import numpy as np

from vitref.array import HostArray


def identity(x: HostArray) -> HostArray:
    return np.array([float(value) for value in x.flat]).reshape(x.shape)


def add(a: HostArray, b: HostArray) -> HostArray:
    return np.array([float(u) + float(v) for u, v in zip(a.flat, b.flat, strict=True)]).reshape(a.shape)


def linear(x: HostArray, weight: HostArray, bias: HostArray | None) -> HostArray:
    y = np.empty((*x.shape[:-1], weight.shape[0]))
    for *row, o in np.ndindex(y.shape):
        terms = [weight[o, i] * x[(*row, i)] for i in range(x.shape[-1])]
        y[(*row, o)] = math.fsum(terms) + (0.0 if bias is None else bias[o])
    return y


def patch_projection(x: HostArray, weight: HostArray, bias: HostArray | None) -> HostArray:
    _, c, h, w = weight.shape
    y = np.empty((*x.shape[:2], weight.shape[0]))
    for n, t, d in np.ndindex(y.shape):
        patch = iter(x[n, t])
        terms = [weight[d, k, i, j] * next(patch) for k in range(c) for i in range(h) for j in range(w)]
        y[n, t, d] = math.fsum(terms) + (0.0 if bias is None else bias[d])
    return y


def layer_norm(x: HostArray, weight: HostArray, bias: HostArray, *, eps: float) -> HostArray:
    """From differences alone: x_c - mu = mean_j (x_c - x_j), v = sum_ij (x_i - x_j)^2 / (2 C^2)."""
    y, width = np.empty(x.shape), x.shape[-1]
    for row in np.ndindex(x.shape[:-1]):
        values = x[row].tolist()
        variance = math.fsum((a - b) ** 2 for a in values for b in values) / (2 * width**2)
        for c, value in enumerate(values):
            centred = math.fsum(value - b for b in values) / width
            y[(*row, c)] = centred / math.sqrt(variance + eps) * weight[c] + bias[c]
    return y


def gelu(x: HostArray, *, form: str) -> HostArray:
    """x Phi(x) by erfc, or x sigmoid(2 u), the tanh form written with one exponential."""
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        value = float(x[at])
        if form == "erf":
            share = math.erfc(-value / math.sqrt(2)) / 2
        else:
            twice_u = math.sqrt(8 / math.pi) * (value + 0.044715 * value**3)
            share = 1 / (1 + math.exp(min(-twice_u, 700.0)))
        y[at] = value * share
    return y


def softmax(x: HostArray) -> HostArray:
    y = np.empty(x.shape)
    for *row, j in np.ndindex(x.shape):
        logits = x[tuple(row)].tolist()
        y[(*row, j)] = 1 / math.fsum(math.exp(min(other - logits[j], 700.0)) for other in logits)
    return y


def cross_entropy(x: HostArray, *, labels: HostArray) -> HostArray:
    loss = []
    for n, k in np.ndindex(x.shape):
        share = float(labels[n] == k) if labels.ndim == 1 else float(labels[n, k])
        ratios = math.fsum(math.exp(min(other - x[n, k], 700.0)) for other in x[n].tolist())
        loss.append(share * math.log(ratios) / x.shape[0])
    return np.array(math.fsum(loss))


def sigmoid_cross_entropy(x: HostArray, *, labels: HostArray) -> HostArray:
    """Each class by itself: -log of the probability of yes, and of no."""
    loss = []
    for n, k in np.ndindex(x.shape):
        share = float(labels[n] == k) if labels.ndim == 1 else float(labels[n, k])
        logit = float(x[n, k])
        either = math.log1p(math.exp(-abs(logit)))
        yes, no = max(-logit, 0.0) + either, max(logit, 0.0) + either
        loss.append((share * yes + (1 - share) * no) / x.shape[0])
    return np.array(math.fsum(loss))


def tanh(x: HostArray) -> HostArray:
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        less = math.expm1(-2 * abs(float(x[at])))
        y[at] = math.copysign(-less / (2 + less), x[at])
    return y


def scores(q: HostArray, k: HostArray) -> HostArray:
    s, width = np.empty((*q.shape[:-1], k.shape[-2])), q.shape[-1]
    for *head, i, j in np.ndindex(s.shape):
        terms = [q[(*head, i, c)] * k[(*head, j, c)] for c in range(width)]
        s[(*head, i, j)] = math.fsum(terms) / math.sqrt(width)
    return s


def context(p: HostArray, v: HostArray) -> HostArray:
    y = np.empty((*p.shape[:-1], v.shape[-1]))
    for *head, i, c in np.ndindex(y.shape):
        y[(*head, i, c)] = math.fsum(p[(*head, i, j)] * v[(*head, j, c)] for j in range(p.shape[-1]))
    return y


def split_heads(qkv: HostArray, *, heads: int) -> tuple[HostArray, ...]:
    n, t, width = qkv.shape
    d = width // (3 * heads)
    parts = tuple(np.empty((n, heads, t, d)) for _ in range(3))
    for part, image, head, token, c in np.ndindex(3, n, heads, t, d):
        parts[part][image, head, token, c] = qkv[image, token, part * heads * d + head * d + c]
    return parts


def merge_heads(x: HostArray) -> HostArray:
    n, heads, t, d = x.shape
    y = np.empty((n, t, heads * d))
    for image, head, token, c in np.ndindex(x.shape):
        y[image, token, head * d + c] = x[image, head, token, c]
    return y


def unfold(image: HostArray, *, patch_size: tuple[int, int]) -> HostArray:
    (n, channels, height, width), (h, w) = image.shape, patch_size
    tops, lefts = range(0, height - h + 1, h), range(0, width - w + 1, w)
    y = np.array(
        [
            image[m, c, top + i, left + j]
            for m in range(n)
            for top in tops
            for left in lefts
            for c in range(channels)
            for i in range(h)
            for j in range(w)
        ]
    )
    return y.reshape(n, len(tops) * len(lefts), channels * h * w)


def class_token(x: HostArray, token: HostArray) -> HostArray:
    return np.array([[token[0, 0].tolist(), *image.tolist()] for image in x])


def position_embedding(x: HostArray, table: HostArray) -> HostArray:
    y = np.empty(x.shape)
    for n, t, d in np.ndindex(x.shape):
        y[n, t, d] = x[n, t, d] + table[0, t, d]
    return y


def resized_position_embedding(
    x: HostArray, table: HostArray, *, rows: HostArray, columns: HostArray, prefix: int
) -> HostArray:
    """One new place after the other, as a weighted sum of all old ones."""
    y, (old_rows, old_columns) = np.empty(x.shape), (rows.shape[1], columns.shape[1])
    for n, t, d in np.ndindex(x.shape):
        place = table[0, t, d] if t < prefix else 0.0
        if t >= prefix:
            i, j = divmod(t - prefix, columns.shape[0])
            place = math.fsum(
                rows[i, k] * columns[j, m] * table[0, prefix + k * old_columns + m, d]
                for k in range(old_rows)
                for m in range(old_columns)
            )
        y[n, t, d] = x[n, t, d] + place
    return y


def mean_pool(x: HostArray, *, start: int) -> HostArray:
    y = np.empty((x.shape[0], x.shape[2]))
    for n, d in np.ndindex(y.shape):
        tokens = x[n, :, d].tolist()[start:]
        y[n, d] = math.fsum(tokens) / len(tokens)
    return y


def layer_scale(x: HostArray, gamma: HostArray) -> HostArray:
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        y[at] = x[at] * gamma[at[-1]]
    return y


def dropout(x: HostArray, *, mask: HostArray, rate: float) -> HostArray:
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        if mask[at] == 1:
            y[at] = x[at] / (1 - rate)
    return y


def drop_path(x: HostArray, *, mask: HostArray, rate: float) -> HostArray:
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        if mask[at[0]] == 1:
            y[at] = x[at] / (1 - rate)
    return y


def select_token(x: HostArray, *, index: int) -> HostArray:
    return np.array([image.tolist()[index] for image in x])
