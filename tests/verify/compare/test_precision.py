"""Formats: recognised by their bits, and rounded to exactly as NumPy and ml_dtypes round."""

import ml_dtypes
import numpy as np
import pytest

from vitref.array import HostArray
from vitref.verify.precision import LADDER, UNIT, computed_in, rounded, stored_in

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
DIGITS = {"bfloat16": 16, "tf32": 13}
"""Format -> bits of a float32 that it lacks."""


def numbers(dtype: type = np.float32) -> HostArray:
    """Of every size that float16 holds, subnormal ones too, and both zeros; ties to both sides."""
    rng = np.random.default_rng(0)
    spread = rng.standard_normal(4000) * 2.0 ** rng.integers(-26, 15, 4000)
    ties = [1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 1 + 3 * 2.0**-11, -1 - 2.0**-11]
    return np.array([0.0, -0.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, *ties, *spread], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_rounding_is_that_of_a_cast(name: str, dtype: type) -> None:
    x = numbers(dtype)
    y = rounded(x, name)
    assert y.dtype == dtype
    assert np.array_equal(y, x.astype(DTYPES[name]).astype(dtype))
    assert np.array_equal(np.signbit(y), np.signbit(x))


def test_tf32_keeps_ten_digits_and_takes_the_even_one_of_two() -> None:
    x = numbers()
    y = rounded(x, "tf32")
    assert not (y.view(np.uint32) & np.uint32(0x1FFF)).any()
    normal = (np.abs(x) >= 2.0**-14) & (np.abs(x) < 2.0**15)
    assert np.array_equal(y[normal], x[normal].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["bfloat16", "tf32"])
def test_subnormal_numbers_are_rounded_too(name: str) -> None:
    x = np.array([3, 2**12, 2**15, 2**15 + 1, 2**16 + 2**15, 2**22 + 5], np.uint32).view(np.float32)
    if name == "bfloat16":
        assert np.array_equal(rounded(x, name), x.astype(ml_dtypes.bfloat16).astype(np.float32))
    else:
        assert rounded(x, name).view(np.uint32).tolist() == [0, 0, 2**15, 2**15, 2**16 + 2**15, 2**22]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "tf32"])
def test_what_is_too_large_becomes_infinite(name: str) -> None:
    largest = float(np.finfo(np.float32).max)
    x = np.array([largest, -largest, np.inf, -np.inf], np.float32)
    assert rounded(x, name).tolist() == [np.inf, -np.inf, np.inf, -np.inf]


@pytest.mark.parametrize("name", LADDER)
def test_rounding_twice_changes_nothing_and_errs_by_half_a_unit(name: str) -> None:
    x = np.random.default_rng(1).uniform(1, 2, 3000)
    y = rounded(x, name)
    assert np.array_equal(rounded(y, name), y)
    error = float(np.abs(y - x).max())
    assert (0.9 * UNIT[name] < error <= UNIT[name]) or name == "float64"


@pytest.mark.parametrize("name", LADDER)
def test_views_and_single_numbers_keep_their_shape(name: str) -> None:
    x = np.random.default_rng(2).standard_normal((6, 5, 4)).astype(np.float32)
    assert np.array_equal(rounded(x.transpose(2, 0, 1)[::2], name), rounded(x, name).transpose(2, 0, 1)[::2])
    assert np.shape(rounded(np.asarray(np.float32(1.2345)), name)) == ()
    assert rounded(np.zeros((0, 3), np.float32), name).shape == (0, 3)


HOLDERS: list[tuple[str, type]] = [("float64", np.float64)] + [
    (name, held) for name in ("float32", "float16", "bfloat16") for held in (np.float64, np.float32)
]


@pytest.mark.parametrize(("name", "held"), HOLDERS)
def test_a_format_is_known_whatever_holds_it(name: str, held: type) -> None:
    x = np.random.default_rng(3).standard_normal((40, 50))
    stored: HostArray = rounded(x, name).astype(held)
    assert stored_in(stored) == name
    assert stored_in(stored[::2, 1::3].T) == name


def test_one_number_of_a_wider_format_is_enough() -> None:
    x = rounded(np.random.default_rng(4).standard_normal(20000), "bfloat16")
    for place in (0, 300, 19999):
        wider = x.copy()
        wider[place] = 1 + 2.0**-20
        assert stored_in(wider) == "float32"


def test_a_dtype_of_sixteen_bits_is_taken_at_its_word() -> None:
    assert stored_in(np.ones(3, ml_dtypes.bfloat16)) == "bfloat16"
    assert stored_in(np.ones(3, np.float16)) == "float16"


def test_few_numbers_tell_no_format() -> None:
    whole = np.tile(np.arange(16, dtype=np.float64), 50)
    assert stored_in(whole) is None
    long = rounded(np.array([1.13, 1.29, 1.41, 1.57, 1.83]), "bfloat16")
    assert stored_in(np.append(whole, long[1:])) is None
    assert stored_in(np.append(whole, long)) == "bfloat16"
    assert stored_in(np.zeros((3, 4))) is None
    assert stored_in(np.zeros((0, 4))) is None


def test_the_range_tells_bfloat16_from_float16() -> None:
    digits = rounded(np.random.default_rng(5).standard_normal(500), "float16")
    assert stored_in(digits) == "float16"
    assert stored_in(digits * 2.0**20) == "float32"
    assert stored_in(rounded(digits, "bfloat16") * 2.0**40) == "bfloat16"


def test_sums_are_formed_in_float32_at_least() -> None:
    assert {name: computed_in(name) for name in LADDER} == {
        name: np.float64 if name == "float64" else np.float32 for name in LADDER
    }
