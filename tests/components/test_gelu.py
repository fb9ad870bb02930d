"""GELU: how far its two forms lie apart, at which x, and how they behave far from zero."""

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.components import gelu

X = np.linspace(0, 6, 600_001)


def values_and_slopes(form: str) -> tuple[HostArray, HostArray]:
    y, saved = gelu.forward(X, form=form)  # type: ignore[arg-type]
    return y, gelu.backward(np.ones_like(X), saved).x


def test_forms_differ_by_what_the_docstring_says() -> None:
    (exact, exact_slope), (fitted, fitted_slope) = values_and_slopes("erf"), values_and_slopes("tanh")
    for difference, largest, at in (
        (np.abs(exact - fitted), 4.73e-4, 2.699),
        (np.abs(exact_slope - fitted_slope), 8.68e-4, 2.019),
    ):
        assert np.max(difference) == pytest.approx(largest, abs=5e-7)
        assert X[np.argmax(difference)] == pytest.approx(at, abs=5e-4)


@pytest.mark.parametrize("form", ["erf", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_zero_it_is_x_or_nothing(form: str, dtype: str) -> None:
    x = np.array([-1e4, -40.0, 40.0, 1e4], dtype)
    y, saved = gelu.forward(x, form=form)  # type: ignore[arg-type]
    assert y.tolist() == [0, 0, 40, 1e4]
    assert gelu.backward(np.ones_like(x), saved).x.tolist() == [0, 0, 1, 1]
