"""The components of attention one after the other, beside plain loops over images, heads and tokens."""

import math

import numpy as np

from vitref.array import HostArray
from vitref.components import context, merge_heads, scores, softmax, split_heads
from vitref.testing import tolerance

IMAGES, TOKENS, HEADS, WIDTH = 2, 3, 3, 4
"""As many heads as tokens: an interchange of the two raises no error."""


def by_loops(qkv: HostArray) -> HostArray:
    """(N, T, heads d): head g has its query at g d, its keys at D + g d, its values at 2 D + g d."""
    d = HEADS * WIDTH
    y = np.zeros((IMAGES, TOKENS, d))
    for n in range(IMAGES):
        for g in range(HEADS):
            first = g * WIDTH
            for t in range(TOKENS):
                weights = []
                for u in range(TOKENS):
                    product = sum(qkv[n, t, first + c] * qkv[n, u, d + first + c] for c in range(WIDTH))
                    weights.append(math.exp(product / math.sqrt(WIDTH)))
                for u in range(TOKENS):
                    for c in range(WIDTH):
                        value = qkv[n, u, 2 * d + first + c]
                        y[n, t, first + c] += weights[u] / sum(weights) * value
    return y


def test_attention_is_that_of_plain_loops() -> None:
    qkv = np.random.default_rng(0).standard_normal((IMAGES, TOKENS, 3 * HEADS * WIDTH))
    (q, k, v), _ = split_heads.forward(qkv, heads=HEADS)
    p, _ = softmax.forward(scores.forward(q, k)[0])
    y, _ = merge_heads.forward(context.forward(p, v)[0])
    expected = by_loops(qkv)
    assert np.max(np.abs(y - expected)) <= tolerance("float64", WIDTH * TOKENS) * np.max(np.abs(expected))


def test_split_reads_by_name_and_merge_undoes_it() -> None:
    """Every element says where it is from: part, head, token and place, as decimal digits."""
    qkv = np.empty((IMAGES, TOKENS, 3 * HEADS * WIDTH))
    for n, t, part, head, c in np.ndindex(IMAGES, TOKENS, 3, HEADS, WIDTH):
        qkv[n, t, (part * HEADS + head) * WIDTH + c] = int(f"{n}{part}{head}{t}{c}")
    parts, _ = split_heads.forward(qkv, heads=HEADS)
    for part, y in enumerate(parts):
        for n, head, t, c in np.ndindex(y.shape):
            assert y[n, head, t, c] == int(f"{n}{part}{head}{t}{c}")
        merged, _ = merge_heads.forward(y)
        assert np.array_equal(merged, qkv[:, :, part * HEADS * WIDTH : (part + 1) * HEADS * WIDTH])


def test_scores_of_wide_heads_have_the_variance_of_their_inputs() -> None:
    q, k = np.random.default_rng(0).standard_normal((2, 400, 64))
    assert 0.9 < float(np.var(scores.forward(q, k)[0])) < 1.1
