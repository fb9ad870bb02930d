"""The graph on JAX: the suite, and JAX's own settings, which must neither matter nor change."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest

import vitref
from vitref import backends
from vitref.backends.interface import Backend
from vitref.errors import BackendError
from vitref.testing import suite, tolerance
from vitref.testing.models import MODEL_CHECKS, verify_model
from vitref.weights import Weights

jax: Any = pytest.importorskip("jax")
jnp = jax.numpy

CONFIG = vitref.Config.variant(
    "ViT-Ti/16", convention="timm", image_size=(32, 48), depth=1, classes=5, width=24, mlp_width=96
)
LABELS = np.array([3, 1])


@pytest.fixture(scope="module")
def weights() -> Weights:
    return vitref.init(CONFIG, seed=0)


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(0).standard_normal((2, 3, 32, 48))


@pytest.fixture(scope="module")
def backend() -> Backend:
    return backends.get("jax")


@pytest.mark.parametrize("check", suite.CHECKS)
@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_component(component: str, check: str, backend: Backend) -> None:
    """One case for each regime and dtype: JAX compiles every operation anew for every shape."""
    with backend.scope():
        suite.verify(component, check, backend, share=0.01)


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_models(check: str, backend: Backend) -> None:
    verify_model(backend, check, share=0.01)


def test_every_step_is_the_references(weights: Weights, image: Any) -> None:
    ran = vitref.trace(weights, image, LABELS, backend="jax").ran
    assert set(ran.values()) == {"reference"}


def test_what_it_is(backend: Backend) -> None:
    first = jax.devices()[0]
    assert backend is backends.get("jax", device=f"{first.platform}:{first.id}")
    assert backend.dtypes == ("float32", "float64")
    assert backend.versions["jax"] == jax.__version__
    assert backend.versions["device"].startswith(first.platform)


@pytest.mark.parametrize("device", ["cpu:99", "cpu:x", "nonsense", 99, ["cpu"]])
def test_a_device_that_does_not_exist_is_refused(device: Any) -> None:
    with pytest.raises(BackendError) as caught:
        backends.get("jax", device=device)
    assert caught.value.where == "backend jax, device"
    assert repr(device) in caught.value.found
    assert "cpu:0" in caught.value.expected or "cpu" not in str(jax.devices())


def test_arrays_are_copied(backend: Backend) -> None:
    array = np.arange(3.0)
    there = backend.from_host(array, "float64")
    array[0] = 7
    back = backend.to_host(there)
    back[1] = 7
    np.testing.assert_array_equal(backend.to_host(there), [0, 1, 2])


# Arrays in, arrays out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_as_arrays(dtype: str, weights: Weights, image: Any) -> None:
    right = vitref.backward(weights, image, LABELS, dtype="float64")
    with jax.enable_x64(True):
        given = jnp.array(image)
    y = vitref.forward(weights, given, backend="jax", dtype=dtype, check_finite=True)
    found = vitref.backward(weights, given, LABELS, backend="jax", dtype=dtype)
    allowed = tolerance(dtype, 10_000)
    for array, expected in ((y, right.logits), (found.logits, right.logits), (found.image, right.image)):
        assert isinstance(array, jax.Array)
        assert array.dtype == dtype
        np.testing.assert_allclose(np.asarray(array), expected, rtol=0, atol=allowed)


def test_memory_of_another_library_is_taken(backend: Backend) -> None:
    assert backend.from_dlpack is not None
    writable = np.arange(64.0)
    taken = backend.from_dlpack(writable)
    assert taken.dtype == np.float64
    np.testing.assert_array_equal(backend.to_host(taken), writable)


@pytest.mark.parametrize("array", [3, "words", [1.0], object()])
def test_what_is_no_array_is_refused(array: Any, backend: Backend) -> None:
    assert backend.from_dlpack is not None
    with pytest.raises(BackendError, match="JAX cannot take"):
        backend.from_dlpack(array)


# JAX's own settings

SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64 allowed": lambda: jax.enable_x64(True),
    "float64 forbidden": lambda: jax.enable_x64(False),
    "fast products": lambda: jax.default_matmul_precision("bfloat16"),
    "checked for NaN": lambda: jax.debug_nans(True),
    "strict promotion": lambda: jax.numpy_dtype_promotion("strict"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_change_nothing_and_are_not_changed(name: str, weights: Weights, image: Any) -> None:
    def logits(dtype: str) -> bytes:
        made: bytes = vitref.forward(weights, image, backend="jax", dtype=dtype).tobytes()
        return made

    expected = [logits(dtype) for dtype in ("float32", "float64")]
    with ExitStack() as stack:
        stack.enter_context(SETTINGS[name]())
        before = dict(jax.config.values)
        precision, wide = jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64
        assert [logits(dtype) for dtype in ("float32", "float64")] == expected
        assert dict(jax.config.values) == before
        assert (jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64) == (precision, wide)


def test_a_pass_runs_at_full_precision(backend: Backend) -> None:
    with backend.scope():
        assert jax.config.jax_default_matmul_precision == "highest"
        assert jax.config.jax_enable_x64
        assert backend.xp.zeros((2,), dtype=np.float64).dtype == np.float64
    assert not jax.config.jax_enable_x64


def test_too_little_memory_is_said(backend: Backend) -> None:
    said = "too little memory: RESOURCE_EXHAUSTED: wanted 3 TiB; .*Give fewer images"
    with pytest.raises(BackendError, match=said), backend.scope():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: wanted 3 TiB\nmuch more of it")


def test_other_errors_pass(backend: Backend) -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), backend.scope():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
