"""What the property suite does not reach: kernels outside the components, against float64 on the host."""

from typing import Any

import numpy as np
import pytest

from tests.cuda.exercises import DTYPES, numbers
from tests.cuda.host import HostDevice
from vitref.array import NUMPY, HostArray
from vitref.backends.cupy_kernels import activation, column_sum, cross_entropy, layer_norm, unfold
from vitref.backends.cupy_kernels.adamw import adamw
from vitref.backends.workspace import fresh
from vitref.components import cross_entropy as cross_entropy_reference
from vitref.components import gelu
from vitref.components import layer_norm as reference
from vitref.components import unfold as unfold_reference
from vitref.errors import BackendError
from vitref.testing import tolerance
from vitref.testing.cases import SPECS
from vitref.testing.tolerance import ROUNDING
from vitref.training import adamw as adamw_reference

DEVICE = HostDevice()


def close(found: HostArray, exact: HostArray, size: Any = None, terms: int = 1) -> None:
    """Within one rounding of the result, beyond what float32 explains of terms of this size."""
    size = np.max(np.abs(exact)) if size is None else size
    allowed = ROUNDING[str(found.dtype)] * 1.01 * np.abs(exact) + tolerance("float32", terms) * size
    assert np.all(np.abs(found.astype("float64") - exact) <= allowed)


def exact(*values: HostArray) -> list[HostArray]:
    return [x.astype("float64") for x in values]


def quick(x: HostArray) -> tuple[HostArray, HostArray]:
    """x sigmoid(1.702 x) and its derivative."""
    p = 1 / (1 + np.exp(-1.702 * x))
    return x * p, p + x * 1.702 * p * (1 - p)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", activation.FORMS)
def test_activation_of_a_sum_with_a_bias(form: Any, dtype: str) -> None:
    x, dy, bias = numbers(dtype, 70, 264), numbers(dtype, 70, 264), numbers(dtype, 264)
    u, d = exact(x, dy)
    u = u + exact(bias)[0]
    if form == "quick":
        y, slope = quick(u)
        dx = d * slope
    else:
        y, saved = gelu.forward(u, form=form)
        (dx,) = gelu.backward(d, saved)
    settings: dict[str, Any] = {"form": form, "bias": bias, "device": DEVICE}
    dbias = DEVICE.empty((264,), dtype)
    assert SPECS["gelu"].absolute is not None
    terms = SPECS["gelu"].absolute((u,), d, {})[1][0]
    close(activation.activated(x, **settings), y)
    close(activation.activated_back(dy, x, **settings), dx, terms)
    close(activation.activated_back_with_bias(dy, x, dbias, ws=fresh(DEVICE.empty), **settings), dx, terms)
    close(dbias, np.sum(dx, axis=0), terms, 70)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (300, 77), (1100, 8), (40, 520)])
def test_column_sum(shape: tuple[int, int], dtype: str) -> None:
    x = numbers(dtype, *shape)
    found = column_sum.column_sum(x, out=DEVICE.empty(shape[1:], dtype), device=DEVICE)
    close(found, np.sum(exact(x)[0], axis=0), np.sum(np.abs(exact(x)[0]), axis=0), shape[0])


def test_arrays_that_are_not_aligned_give_the_same_sums() -> None:
    x = np.empty(300 * 8 + 1, "float32")[1:].reshape(300, 8)
    assert column_sum.address(x) % 16 != 0
    x[...] = numbers("float32", 300, 8)
    found = column_sum.column_sum(x, out=DEVICE.empty((8,), "float32"), device=DEVICE)
    close(found, np.sum(exact(x)[0], axis=0), np.sum(np.abs(exact(x)[0]), axis=0), 300)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [768, 1025, 2048])
def test_wide_layer_norms_and_the_cotangent_of_the_residual(width: int, dtype: str) -> None:
    x, dy, add = (numbers(dtype, rows, width) for rows in (5, 5, 5))
    weight, bias = numbers(dtype, width), numbers(dtype, width)
    y, saved = layer_norm.forward(x, weight, bias, eps=1e-6, xp=NUMPY, device=DEVICE)
    found = (y, *layer_norm.backward(dy, saved, xp=NUMPY, add=add, device=DEVICE))
    true, known = reference.forward(*exact(x, weight, bias), eps=1e-6)
    grads = reference.backward(exact(dy)[0], known)
    for mine, answer in zip(found, (true, grads.x + exact(add)[0], *grads[1:]), strict=True):
        close(mine, answer, 2 * np.max(np.abs(answer)) + 8, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("patch_size", [(16, 16), (14, 14), (5, 3)])
def test_bytes_become_what_the_host_makes_of_them(patch_size: tuple[int, int], dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 33, 50, 3), dtype=np.uint8)
    table = numbers(dtype, 3, 256)
    image = np.stack([table[c][pixels[..., c]] for c in range(3)], axis=1)
    expected, _ = unfold_reference.forward(image, patch_size=patch_size)
    found = unfold.from_bytes(pixels, table, patch_size=patch_size, device=DEVICE)
    assert found.shape == expected.shape
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_weights_that_do_not_sum_to_one(dtype: str) -> None:
    x, labels = numbers(dtype, 3, 40), np.abs(numbers("float32", 3, 40))
    y, saved = cross_entropy.forward(x, labels=labels, xp=NUMPY, device=DEVICE)
    true, known = cross_entropy_reference.forward(exact(x)[0], labels=exact(labels)[0])
    assert y.dtype == "float32"
    close(y, true, terms=40)
    (dx,) = cross_entropy.backward(numbers("float32"), saved, xp=NUMPY, device=DEVICE)
    close(dx, cross_entropy_reference.backward(exact(numbers("float32"))[0], known).x, terms=40)


RULE: dict[str, Any] = {"rate": 1e-2, "betas": (0.9, 0.999), "eps": 0.1}


@pytest.mark.parametrize(
    ("own", "dtype"),
    [("float64", "float64"), ("float32", "float32"), ("float32", "float16"), ("float32", "bfloat16")],
)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_the_rule_of_the_reference(own: str, dtype: str, decay: float) -> None:
    p, m, v = numbers(own, 9, 31), numbers(own, 9, 31), np.abs(numbers(own, 9, 31))
    g, copy = numbers(dtype, 9, 31), DEVICE.empty((9, 31), dtype)
    found = adamw(p, g, m, v, step=3, decay=decay, copy=copy, **RULE, device=DEVICE)
    answers = adamw_reference.rule(*exact(p, g, m, v), step=3, decay=decay, **RULE)
    for mine, answer in zip(found, answers, strict=True):
        assert mine.dtype == own
        assert np.all(np.abs(mine - answer) <= tolerance(own) * (np.abs(answer) + np.abs(exact(p)[0])))
    assert copy.tobytes() == found[0].astype(dtype).tobytes()


def test_adamw_refuses_parameters_in_16_bits() -> None:
    half = numbers("float16", 3)
    with pytest.raises(BackendError, match="AdamW: found parameter, gradient, mean and square in float16"):
        adamw(half, half, half, half, step=1, decay=0.0, **RULE, device=DEVICE)


def test_the_kernels_say_what_they_cannot_do() -> None:
    device: Any = {"device": DEVICE}
    assert layer_norm.refuses(numbers("float64", 2, 3), eps=1e-6, **device) == "float64: the reference runs"
    assert "8193 elements" in (layer_norm.refuses(numbers("float32", 1, 8193), eps=1e-6, **device) or "")
    assert layer_norm.refuses(numbers("float32", 1, 8192), eps=1e-6, **device) is None
    assert unfold.refuses(numbers("float32", 0, 3, 4, 4), patch_size=(2, 2), **device) == "no pixels"
