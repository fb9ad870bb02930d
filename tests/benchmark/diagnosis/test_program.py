"""The second program in 16 bits, and a wrong backward pass in it."""

import ml_dtypes
import numpy as np
import pytest

from vitref.benchmark.diagnosis import problem, program
from vitref.benchmark.diagnosis.bug import wrong_gradient

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("float64", np.float64),
        ("float32", np.float32),
        ("bfloat16", ml_dtypes.bfloat16),
        ("float16", np.float16),
    ],
)
def test_taps_keep_the_format(dtype: str, stored: type) -> None:
    given = problem.small("token")
    taps = program.taps(given.weights, given.config, given.image, given.labels, dtype=dtype)
    wide = {"loss", "loss:dy"} if np.dtype(stored).itemsize == 2 else set()
    assert {array.dtype for name, array in taps.items() if name not in wide} == {np.dtype(stored)}


def test_autocast_keeps_float32_beside_bfloat16() -> None:
    given = problem.small("token")
    taps = program.taps(given.weights, given.config, given.image, dtype="autocast")
    assert taps["blocks.0.norm1"].dtype == np.float32
    assert taps["blocks.0.attn.qkv"].dtype == ml_dtypes.bfloat16


def test_wrong_gradient_leaves_the_value() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = wrong_gradient(lambda x: x * x, lambda dy, right, x: (right[0] + 10,))(x)
    y.backward(torch.tensor([1.0, 3.0]))
    assert y.tolist() == [1.0, 4.0]
    assert x.grad.tolist() == [12.0, 22.0]
