"""Errors in multiples of noise: the two norms, by hand."""

import math

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.verify.measure import Measured, measured, parts, squares, worst_elements
from vitref.verify.precision import UNIT
from vitref.verify.verdicts import Element

U = UNIT["float32"]


def found(tap: str, error: HostArray, noise: list[HostArray], size: float = 0.0) -> Measured:
    """A reference of `size` in every element, a candidate off by `error`, own runs off by `noise`."""
    reference = np.full(error.shape, size)
    return measured(tap, reference + error, reference, [reference + n for n in noise], "float32")


def test_whole_tensor() -> None:
    noise = [np.full((2, 4), 1e-3), np.full((2, 4), 3e-3)]
    ratio = found("blocks.0.attn.proj.bias:grad", np.full((2, 4), 0.1), noise).ratio()
    assert ratio.whole == pytest.approx(0.1 / math.sqrt((1e-6 + 9e-6) / 2))
    assert ratio.token == ratio.whole
    assert ratio.worst is None


def test_the_storage_floor_is_half_a_rounding() -> None:
    ratio = found("loss", np.asarray(1e-6), [np.asarray(0.0)], size=2.0).ratio()
    assert ratio.whole == pytest.approx(1e-6 / (U * 2.0 / 2), rel=1e-6)


def test_worst_token() -> None:
    """s^2 = n^2 / 2 + mean(n^2) (1/2 + R^2 / (2 mean R^2)) / 2 + (u R / 2)^2, all of one token."""
    reference = np.zeros((1, 2, 4))
    reference[0, 1] = 2.0
    noise = np.zeros((1, 2, 4))
    noise[0, 0], noise[0, 1] = 1e-4, 3e-4
    error = np.zeros((1, 2, 4))
    error[0, 0] = 5e-4
    ratio = measured("tokens", reference + error, reference, [reference + noise], "float32").ratio()
    n, size = np.array([4e-8, 36e-8]), np.array([0.0, 16.0])
    s = n / 2 + n.mean() * (0.5 + 0.5 * size / size.mean()) / 2 + U * U / 4 * size
    assert ratio.token == pytest.approx(math.sqrt(4 * 25e-8 / s[0]), rel=1e-6)
    assert ratio.whole == pytest.approx(math.sqrt(4 * 25e-8 / (n.sum() + U * U / 4 * 16)), rel=1e-6)
    assert ratio.worst == (0, 0)


def test_one_bad_token_among_massive_ones_is_found_by_its_own_norm_alone() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((2, 30, 16))
    reference[:, 7] *= 300
    noise = [rng.standard_normal(reference.shape) * 1e-7 * np.abs(reference) for _ in range(3)]
    candidate = reference + rng.standard_normal(reference.shape) * 1e-7 * np.abs(reference)
    assert (
        measured("tokens", candidate, reference, [reference + n for n in noise], "float32").ratio().larger < 3
    )
    candidate[1, 20] += 4e-5
    ratio = measured("tokens", candidate, reference, [reference + n for n in noise], "float32").ratio()
    assert ratio.worst == (1, 20)
    assert ratio.whole < 4
    assert ratio.token > 3 * ratio.whole


def test_a_token_without_own_noise_borrows_from_the_others() -> None:
    """Noise that happens to be zero in one token is a lucky zero."""
    noise = np.full((1, 4, 3), 1e-4)
    noise[0, 2] = 0
    error = np.full((1, 4, 3), 2e-4)
    assert found("tokens", error, [noise], size=1.0).ratio().token < 5


def test_zero_arrays() -> None:
    zero = np.zeros((2, 3, 4))
    assert found("tokens", zero, [zero]).ratio()[:2] == (0.0, 0.0)
    off = zero.copy()
    off[0, 1, 2] = 1e-30
    ratio = found("tokens", off, [zero]).ratio()
    assert (ratio.whole, ratio.token, ratio.worst) == (math.inf, math.inf, (0, 1))
    assert found("tokens", zero, [zero]).relative == (0.0, 0.0)


def test_a_gradient_that_is_zero_but_for_rounding_is_measured_by_absolute_noise() -> None:
    rng = np.random.default_rng(1)
    tiny = [rng.standard_normal(12) * 1e-9 for _ in range(4)]
    assert found("blocks.0.attn.q_norm.bias:grad", tiny[0], tiny[1:]).ratio().whole < 3
    assert found("blocks.0.attn.q_norm.bias:grad", 1e3 * tiny[0], tiny[1:]).ratio().whole > 100


@pytest.mark.parametrize(
    ("tap", "shape", "axis"),
    [
        ("blocks.0.attn.qkv", (2, 5, 12), -1),
        ("blocks.0.attn.qkv:dy", (2, 5, 12), -1),
        ("blocks.0.attn.qkv.weight:grad", (12, 4), 0),
        ("blocks.0.attn.qkv.bias:grad", (12,), 0),
    ],
)
def test_queries_keys_and_values_are_measured_apart(tap: str, shape: tuple[int, ...], axis: int) -> None:
    """A wrong third with little noise does not hide behind another one with much."""
    thirds = np.split(np.ones(shape), 3, axis=axis)
    noise = np.concatenate([thirds[0] * 1e-2, thirds[1] * 1e-9, thirds[2] * 1e-2], axis=axis)
    error = np.concatenate([thirds[0] * 0, thirds[1] * 1e-6, thirds[2] * 0], axis=axis)
    assert len(parts(tap, error)) == 3
    assert found(tap, error, [noise]).ratio().whole == pytest.approx(1000)


def test_other_taps_are_measured_whole() -> None:
    for tap in ("blocks.0.attn.qkv_like", "blocks.0.attn.proj.weight:grad", "blocks.0.attn.q"):
        assert len(parts(tap, np.ones((2, 6, 9)))) == 1


@pytest.mark.parametrize(
    ("tap", "shape", "tokens"),
    [
        ("blocks.0.norm1", (2, 5, 4), (2, 5)),
        ("blocks.0.attn.scores", (2, 3, 5, 7), (2, 5)),
        ("blocks.0.attn.softmax:dy", (2, 3, 5, 7), (2, 5)),
        ("image", (2, 3, 5, 7), (2,)),
        ("image:dy", (2, 3, 5, 7), (2,)),
        ("logits", (2, 4), (2,)),
        ("loss", (), ()),
        ("pos_embed:grad", (1, 5, 4), ()),
        ("patch_embed.proj.weight:grad", (6, 3, 2, 2), ()),
    ],
)
def test_what_counts_as_a_token(tap: str, shape: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    (sums,) = squares(tap, np.ones(shape))
    assert sums.shape == tokens
    assert sums.sum() == np.prod(shape)


def test_relative_error_and_noise() -> None:
    error, noise = found("tokens", np.full((1, 2, 2), 0.3), [np.full((1, 2, 2), 0.1)], size=2.0).relative
    assert error == pytest.approx(0.15)
    assert noise == pytest.approx(0.05)


def test_scale_is_the_noise_of_one_element() -> None:
    noise = [np.full((1, 2, 2), 0.1), np.full((1, 2, 2), 0.3)]
    assert found("tokens", np.zeros((1, 2, 2)), noise).scale == pytest.approx(math.sqrt(0.05))
    assert found("tokens", np.zeros((1, 2, 2)), [np.zeros((1, 2, 2))]).scale > 0


def test_worst_elements_are_named_with_their_place() -> None:
    reference = np.zeros((2, 3, 4))
    candidate = reference.copy()
    candidate[1, 2, 3], candidate[0, 0, 1] = -4.0, 2.0
    first, second = worst_elements(candidate, reference, 0.5)
    assert first == Element((1, 2, 3), -4.0, 0.0, 8.0)
    assert (second.index, second.error) == ((0, 0, 1), 4.0)
    assert worst_elements(reference, reference, 0.5) == ()
    assert len(worst_elements(reference + 1, reference, 0.5)) == 5
    assert worst_elements(np.zeros((0, 2)), np.zeros((0, 2)), 1.0) == ()


def test_overflow_is_infinitely_wrong_and_warns_of_nothing() -> None:
    reference = np.ones((1, 3, 2))
    candidate = reference.copy()
    candidate[0, 1] = 1e200
    ratio = measured("tokens", candidate, reference, [reference], "float64").ratio()
    assert ratio.whole == math.inf
    assert ratio.worst == (0, 1)
