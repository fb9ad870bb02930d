"""The CuPy backend from end to end on the CPU: its device, its products, its kernels."""

from collections.abc import Iterator

import numpy as np
import pytest

import vitref
from tests.cuda.host import MATHS, host_backend
from tests.cuda.stand_in import stand_in
from tests.cuda.test_model import LABELS, image, weights
from vitref.backends.interface import Backend
from vitref.testing import backend as suite
from vitref.testing import tolerance
from vitref.training import adamw


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with stand_in() as made:
        yield made


@pytest.mark.parametrize("math", MATHS)
def test_it_computes_what_its_kernels_compute(backend: Backend, math: str) -> None:
    """Its products are not rounded to TF32 here; attention is."""
    found = vitref.backward(weights(), image(), LABELS, backend=backend, precision=math)
    exact = vitref.backward(weights(), image(), LABELS, backend=host_backend())
    allowed = tolerance("float16" if math == "tf32" else "float32", 768)
    for name in exact.weights:
        difference = np.linalg.norm(found.weights[name] - exact.weights[name])
        assert difference <= allowed * np.linalg.norm(exact.weights[name]), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_every_dtype(backend: Backend, dtype: str) -> None:
    found = vitref.forward(weights(), image(), backend=backend, dtype=dtype)
    exact = vitref.forward(weights(), image(), dtype="float64")
    assert np.linalg.norm(found - exact) <= tolerance(dtype, 96) * np.linalg.norm(exact)


def test_transfers(backend: Backend) -> None:
    suite.transfers(backend)
    suite.vocabulary(backend)
    suite.dtypes(backend)


def test_images_of_the_device_stay_there(backend: Backend) -> None:
    """An image that is already on the device is taken where it is."""
    parts = backend.from_host(image(), "float32"), backend.from_host(image(), "float64")
    assert [str(part.dtype) for part in parts] == ["float32", "float64"]
    assert np.array_equal(backend.to_host(parts[0]), image())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_bytes_become_the_pixels_of_the_host(backend: Backend, dtype: str) -> None:
    rng = np.random.default_rng(0)
    levels, table = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8), rng.standard_normal((3, 256))
    assert backend.pixels is not None
    found = backend.to_host(backend.pixels(levels, table, dtype))
    expected = np.stack([table[c][levels[..., c]] for c in range(3)], axis=1).astype(dtype)
    assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())


def test_the_update_rule_is_that_of_the_reference(backend: Backend) -> None:
    rng, options = np.random.default_rng(0), {"step": 3, "rate": 0.1, "betas": (0.9, 0.99), "eps": 1e-8}
    given = [abs(x) for x in rng.standard_normal((4, 5, 3)).astype("float32")]
    here = [backend.from_host(x, "float32") for x in given]
    found = backend.rules["adamw"](*here, **options, decay=0.05)
    expected = adamw.rule(*(x.astype("float64") for x in given), **options, decay=0.05)  # type: ignore[arg-type]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.to_host(one), other, rtol=tolerance("float32"))
