"""Complex step and the adjoint test: as exact as they say, and loud where they do not apply."""

from typing import Any

import numpy as np
import pytest

from vitref.testing import adjoint_error, complex_step, random_like, tolerance
from vitref.testing.derivative import inner

RNG = np.random.default_rng(0)


def test_derivative_has_all_digits() -> None:
    x, v = RNG.standard_normal(100), RNG.standard_normal(100)
    error = complex_step(lambda x: np.exp(np.sin(x)), x, v) - np.exp(np.sin(x)) * np.cos(x) * v
    assert np.max(np.abs(error)) <= tolerance("float64") * np.max(np.abs(v)) * np.e


def test_structures_go_in_and_come_out() -> None:
    point = {"a": np.array(2.0), "b": (np.array([3.0]), None)}
    direction = {"a": np.array(1.0), "b": (np.array([10.0]), None)}

    def function(p: Any) -> Any:
        return {"product": p["a"] * p["b"][0], "rest": [p["a"] ** 2, None, "name", 7]}

    found = complex_step(function, point, direction)
    assert found["product"] == pytest.approx([23.0], abs=0)
    assert found["rest"] == [4.0, None, "name", 7]


@pytest.mark.parametrize("function", [np.abs, np.real, lambda x: np.var(x), lambda x: np.linalg.norm(x)])
def test_function_that_drops_the_imaginary_part_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="imaginary"):
        complex_step(function, np.ones(3), np.ones(3))


@pytest.mark.parametrize("result", [1.0, None, ()])
def test_function_that_gives_no_array_is_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="expected an array"):
        complex_step(lambda x: result, np.ones(3), np.ones(3))


@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
def test_point_must_be_float64(dtype: str) -> None:
    with pytest.raises(TypeError, match=f"the point is {dtype}, expected float64"):
        complex_step(lambda x: x, np.ones(3, dtype), np.ones(3))


def test_direction_must_have_the_shape_of_the_point() -> None:
    with pytest.raises(ValueError, match=r"shape \(1,\), expected that of the point, \(3,\)"):
        complex_step(lambda x: x, np.ones(3), np.ones(1))


def test_direction_must_have_the_structure_of_the_point() -> None:
    with pytest.raises(ValueError, match="shorter"):
        complex_step(lambda p: p[0], (np.ones(3), np.ones(3)), (np.ones(3),))


def matrix_gradient(point: Any, dy: Any, factor: float = 1.0) -> Any:
    a, b = point
    return factor * dy @ b.T, a.T @ dy


def test_adjoint_error_is_rounding_for_a_right_gradient_and_not_for_a_wrong_one() -> None:
    point, dy = (RNG.standard_normal((4, 50)), RNG.standard_normal((50, 3))), RNG.standard_normal((4, 3))
    v = random_like(point, RNG)

    def error(gradient: Any) -> float:
        return adjoint_error(lambda p: p[0] @ p[1], point, v, dy, gradient)

    assert error(matrix_gradient(point, dy)) <= tolerance("float64", 50)
    assert error(matrix_gradient(point, dy, factor=1 + 1e-9)) > 1e-12
    assert error(random_like(point, RNG)) > 1e-2


def test_adjoint_error_is_measured_before_the_terms_cancel() -> None:
    """<dy, J v> is 0 but for rounding; relative to itself, a right gradient would be off by 100 %."""
    x, dy = np.array([1.0, 1.0, 1.0]), np.array([0.1, 0.2, -0.3])
    assert abs(inner(dy, x).value) < 1e-16
    assert adjoint_error(lambda x: x * x, x, x, dy, 2 * x * dy) < tolerance("float64")


def test_adjoint_error_of_nothing_is_zero() -> None:
    assert adjoint_error(lambda x: 0 * x, np.ones(3), np.ones(3), np.ones(3), np.zeros(3)) == 0


def test_random_like_keeps_structure_and_depends_on_the_generator_alone() -> None:
    value = {"x": np.zeros((2, 3), np.float32), "none": None, "scalar": np.zeros(())}
    first, again = (random_like(value, np.random.default_rng(5)) for _ in range(2))
    assert first["x"].shape == (2, 3)
    assert first["x"].dtype == np.float64
    assert first["none"] is None
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], random_like(value, np.random.default_rng(6))["x"])
