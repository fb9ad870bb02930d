"""Products: the split of float32 into two TF32 parts, and the emulation that stands for the GPU's."""

import numpy as np
import pytest

from tests.cuda.host import HostDevice, multiplied, tf32
from vitref.array import HostArray
from vitref.backends.cupy_kernels.split import split
from vitref.testing import tolerance


def matrix(rows: int, columns: int, seed: int = 0) -> HostArray:
    return np.random.default_rng([seed, rows, columns]).standard_normal((rows, columns)).astype("float32")


SIZES = [(1, 1), (3, 5), (7, 12), (64, 33), (40, 64)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("rows_summed", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_parts_lie_along_the_summed_axis(shape: tuple[int, int], rows_summed: bool, right: bool) -> None:
    x = matrix(*shape)
    high = tf32(x)
    low = tf32(x - high)
    parts = [high, low, high] if right else [low, high, high]
    found = split(x, rows_summed=rows_summed, right=right, device=HostDevice())
    assert np.array_equal(found, np.concatenate(parts, axis=0 if rows_summed else 1))


def test_two_parts_hold_all_but_the_last_digits() -> None:
    x = matrix(50, 64)
    parts = split(x, rows_summed=True, right=False, device=HostDevice()).reshape(3, 50, 64)
    assert np.all((parts.view(np.uint32) & 0x1FFF) == 0)
    assert np.max(np.abs((parts[0].astype("float64") + parts[1] - x) / x)) < 2.0**-21


@pytest.mark.parametrize("value", [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4028235e38, 1e-40])
def test_special_numbers(value: float) -> None:
    """Nothing finite becomes infinite, and nothing infinite NaN."""
    x = np.full((1, 4), value, "float32")
    low, high, again = split(x, rows_summed=True, right=False, device=HostDevice())
    assert np.array_equal(high, again, equal_nan=True)
    if np.isfinite(value):
        assert np.isfinite(high).all()
        assert np.allclose(high.astype("float64") + low, x, rtol=2.0**-20, atol=1e-41)
    else:
        assert np.array_equal(high, x[0], equal_nan=True)
        assert not low.any()


@pytest.mark.parametrize("order", [1, 5])
def test_the_order_of_the_threads_changes_nothing(order: int) -> None:
    x = matrix(33, 20)
    first, second = (split(x, rows_summed=False, right=True, device=HostDevice(n)) for n in (0, order))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_three_tf32_products_are_one_of_float32(transposed: tuple[bool, bool]) -> None:
    """As `Products` does it: split operands, one product of three times the length."""
    first, second = transposed
    a = matrix(96, 20) if first else matrix(20, 96)
    b = matrix(24, 96, 1) if second else matrix(96, 24, 1)
    device = HostDevice()
    left = split(a, rows_summed=first, right=False, device=device)
    right = split(b, rows_summed=not second, right=True, device=device)
    found = (left.T if first else left) @ (right.T if second else right)
    exact = (a.T if first else a).astype("float64") @ (b.T if second else b)
    one = multiplied(a.T if first else a, b.T if second else b, "tf32")
    size = np.linalg.norm(exact)
    assert np.linalg.norm(found - exact) <= tolerance("float32") * size
    assert np.linalg.norm(one - exact) > 100 * np.linalg.norm(found - exact)


@pytest.mark.parametrize("math", ["strict", "fp32x3", "tf32"])
def test_a_product_on_the_host_adds_bias_and_residual(math: str) -> None:
    a, b, bias, residual = matrix(3, 8), matrix(5, 8), matrix(1, 5)[0], matrix(3, 5)
    found = HostDevice().product(a, b, math=math, transpose_b=True, bias=bias, residual=residual)
    exact = a.astype("float64") @ b.T + bias + residual
    kept = "float16" if math == "tf32" else "float32"  # TF32 has as many digits as float16
    assert np.linalg.norm(found - exact) <= tolerance(kept) * np.linalg.norm(exact)
