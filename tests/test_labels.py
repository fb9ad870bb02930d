"""Labels: what is accepted, in which form it reaches the loss, smoothing, and every refusal."""

import re
from typing import Any

import numpy as np
import pytest

from vitref import labels
from vitref.array import HostArray
from vitref.errors import ConfigError
from vitref.testing import tolerance

RNG = np.random.default_rng(0)
SOFT = RNG.dirichlet(np.ones(4), size=3)
SHARES = RNG.uniform(0, 1, size=(3, 4))


def check(given: Any, loss: str = "cross_entropy", smoothing: Any = 0.0, **options: Any) -> HostArray:
    """For three images of four classes, in float64, unless said otherwise."""
    fixed: dict[str, Any] = {"n": 3, "classes": 4, "dtype": "float64"}
    return labels.check(given, loss=loss, smoothing=smoothing, **fixed | options)


INTEGERS = [
    [1, 0, 3],
    (1, 0, 3),
    *(np.array([1, 0, 3], dtype) for dtype in ("uint8", "int8", "int32", "uint64")),
]


@pytest.mark.parametrize("given", INTEGERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "sigmoid"])
def test_integers_of_any_kind_become_int64(given: Any, loss: str) -> None:
    found = check(given, loss)
    assert found.dtype == np.int64
    assert found.tolist() == [1, 0, 3]


def test_one_label_may_be_a_number() -> None:
    assert check(2, n=1).tolist() == [2]
    assert check(np.int64(2), n=1).tolist() == [2]


def test_as_many_images_as_classes_are_no_ambiguity() -> None:
    assert check([0, 1, 2, 3], n=4).shape == (4,)
    assert check(np.eye(4), n=4).shape == (4, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_have_the_dtype_of_the_run(dtype: str) -> None:
    found = check(SOFT, dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, SOFT.astype(dtype))


def test_probabilities_may_come_from_half_precision() -> None:
    half = np.full((1, 1000), 1 / 1000, np.float16)
    np.testing.assert_array_equal(check(half, n=1, classes=1000), half.astype(np.float64))


def test_numbers_for_the_sigmoid_loss_need_not_sum_to_one() -> None:
    np.testing.assert_array_equal(check(SHARES, "sigmoid"), SHARES)
    for ends in (np.zeros((3, 4)), np.ones((3, 4))):
        np.testing.assert_array_equal(check(ends, "sigmoid"), ends)
    with pytest.raises(ConfigError, match="with rows that do not sum to 1"):
        check(SHARES)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int64", "uint64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_zeros_and_ones_may_be_integers(kind: str, dtype: str) -> None:
    one, several = np.eye(4)[[1, 0, 3]], np.array([[0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]])
    for given, loss in ((one, "cross_entropy"), (one, "sigmoid"), (several, "sigmoid")):
        found = check(given.astype(kind), loss, dtype=dtype)
        assert found.dtype == dtype
        assert found.tolist() == given.tolist()
    smoothed = check(several.astype(kind), "sigmoid", 0.2)
    np.testing.assert_array_equal(smoothed, check(several.astype("float64"), "sigmoid", 0.2))


def test_rows_of_lists_may_be_integers() -> None:
    assert check([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]).tolist() == np.eye(4)[[1, 0, 3]].tolist()


def test_smoothing_may_be_a_number_of_numpy() -> None:
    """And does not lower the accuracy of the labels to its own."""
    smoothing = np.float32(0.1)
    found = check([1, 0, 3], smoothing=smoothing)
    assert found.dtype == np.float64
    assert found.tolist() == check([1, 0, 3], smoothing=float(smoothing)).tolist()


def test_the_given_array_is_neither_changed_nor_returned() -> None:
    given = SOFT.copy()
    check(given, smoothing=0.1)
    check(given)[...] = 7
    np.testing.assert_array_equal(given, SOFT)


# Smoothing


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.999])
def test_smoothed_integers_are_two_numbers(smoothing: float) -> None:
    """What torch.nn.functional.cross_entropy(label_smoothing=) trains towards: s / K off the label."""
    found = check([1, 0, 3], smoothing=smoothing)
    for row, label in zip(found, (1, 0, 3), strict=True):
        assert row[label] == pytest.approx(1 - smoothing * 3 / 4, rel=tolerance("float64"))
        others = np.delete(row, label)
        assert others == pytest.approx(np.full(3, smoothing / 4), rel=tolerance("float64"))


@pytest.mark.parametrize(("loss", "given"), [("cross_entropy", SOFT), ("sigmoid", SHARES)])
def test_smoothing_mixes_with_the_uniform_label(loss: str, given: HostArray) -> None:
    found, uniform = check(given, loss, 0.3), np.full((3, 4), 0.25)
    np.testing.assert_allclose(found - given, 0.3 * (uniform - given), atol=tolerance("float64"))
    np.testing.assert_allclose(found.sum(axis=1), 0.7 * given.sum(axis=1) + 0.3, rtol=tolerance("float64", 4))


def test_a_smoothed_loss_is_the_mixture_of_losses() -> None:
    """The cross-entropy is linear in the labels: (1 - s) that of the label, and s the mean over classes."""
    log_p = np.log(RNG.dirichlet(np.ones(4), size=3))
    smoothed = -np.sum(check([1, 0, 3], smoothing=0.2) * log_p)
    expected = -0.8 * (log_p[0, 1] + log_p[1, 0] + log_p[2, 3]) - 0.2 * np.sum(np.mean(log_p, axis=1))
    assert smoothed == pytest.approx(expected, rel=tolerance("float64", 12))


def test_no_smoothing_keeps_integers() -> None:
    assert check([1, 0, 3], smoothing=0).dtype == np.int64
    assert check([1, 0, 3], smoothing=0.1, dtype="float32").dtype == np.float32


# Refusals

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "too few": ([1, 0], {}, r"labels: found shape \(2,\), dtype int64; expected 3 integers from 0 to 3"),
    "too many": ([1, 0, 2, 3], {}, r"found shape \(4,\)"),
    "a number for several": (1, {}, r"found shape \(1,\)"),
    "none": ([], {}, r"found shape \(0,\)"),
    "above": ([0, 4, 9], {}, "labels: found 4, 9; .*Count the classes from 0"),
    "below": ([0, -1, 2], {}, "labels: found -1; "),
    "far above": (np.array([0, 1, 2**64 - 1], np.uint64), {}, "labels: found 18446744073709551615"),
    "many outside": (np.full(3, 7), {}, "labels: found 7, 7, 7; "),
    "booleans": ([True, False, True], {}, "dtype bool"),
    "whole numbers as floats": ([0.0, 1.0, 2.0], {}, "dtype float64"),
    "text": (["cat", "dog", "cat"], {}, "found shape .*Give one integer per image"),
    "nothing": ([None, 1, 2], {}, "dtype object"),
    "ragged": ([[1.0], [0.5, 0.5], [1.0]], {}, "found rows of different lengths"),
    "complex": (SOFT + 0j, {}, "dtype complex128"),
    "two classes of an image": (np.eye(4, dtype=int)[:3] + [0, 0, 0, 1], {}, "do not sum to 1"),
    "no class of an image": (np.zeros((3, 4), np.uint8), {}, "dtype uint8, with rows that do not sum to 1"),
    "counts": (np.full((3, 4), 2), {"loss": "sigmoid"}, "dtype int64, with numbers outside 0 to 1"),
    "counts below 0": (np.full((3, 4), -1), {"loss": "sigmoid"}, r"to 1 \(floats, or integers 0 and 1"),
    "far above 1": (np.full((3, 4), 2**64 - 1, np.uint64), {"loss": "sigmoid"}, "numbers outside 0 to 1"),
    "one-hot booleans": (np.eye(4, dtype=bool)[:3], {}, "dtype bool"),
    "too few classes": (SOFT[:, :3], {}, r"found shape \(3, 3\)"),
    "too few rows": (SOFT[:2], {}, r"found shape \(2, 4\)"),
    "three axes": (SOFT[None], {}, r"found shape \(1, 3, 4\)"),
    "not summing to 1": (SOFT * 0.99, {}, "with rows that do not sum to 1.*Divide each row"),
    "one row not summing to 1": (np.vstack([SOFT[:2], SHARES[:1]]), {}, "with rows that do not sum to 1"),
    "negative": (SOFT - [[0.5, 0, 0, -0.5]], {}, "with numbers outside 0 to 1"),
    "above 1": (np.full((3, 4), 1.5), {"loss": "sigmoid"}, "outside 0 to 1.*Give numbers from 0 to 1"),
    "NaN": (np.where(SOFT > 0.3, np.nan, SOFT), {}, "with numbers outside 0 to 1"),
    "infinite": (np.full((3, 4), np.inf), {"loss": "sigmoid"}, "with numbers outside 0 to 1"),
    "no classifier": ([1, 0, 3], {"classes": 0}, "labels: found labels for a model without classifier"),
    "smoothing of 1": ([1, 0, 3], {"smoothing": 1}, "label_smoothing: found 1; expected .* below 1"),
    "negative smoothing": ([1, 0, 3], {"smoothing": -0.1}, "label_smoothing: found -0.1"),
    "smoothing of text": ([1, 0, 3], {"smoothing": "0.1"}, "label_smoothing: found '0.1'"),
    "smoothing by a switch": ([1, 0, 3], {"smoothing": True}, "label_smoothing: found True"),
    "NaN smoothing": ([1, 0, 3], {"smoothing": float("nan")}, "label_smoothing: found nan"),
    "wrong labels, smoothed": ([1, 0, 4], {"smoothing": 0.1}, "labels: found 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    given, options, message = REFUSED[case]
    with pytest.raises(ConfigError, match=re.compile(message, re.DOTALL)) as caught:
        check(given, **options)
    assert caught.value.where in ("labels", "label_smoothing")
    assert re.fullmatch(r"[A-Z].*\.", caught.value.remedy, re.DOTALL)
