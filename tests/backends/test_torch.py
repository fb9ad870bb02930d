"""The graph on PyTorch: the suite, and PyTorch's own settings, which must neither matter nor change."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Barrier, Thread
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

torch: Any = pytest.importorskip("torch")
pytest.importorskip("array_api_compat")

CONFIG = vitref.Config.variant(
    "ViT-Ti/16", convention="timm", image_size=(32, 48), depth=2, classes=5, width=24, mlp_width=96
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
    return backends.get("torch")


def bits(weights: Weights, image: Any) -> bytes:
    """Of a result in float32, and of a gradient."""
    found = vitref.backward(weights, image, LABELS, backend="torch")
    return b"".join([found.logits.tobytes(), found.weights["blocks.0.mlp.fc1.weight"].tobytes()])


@pytest.mark.parametrize("check", suite.CHECKS)
@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_component(component: str, check: str, backend: Backend) -> None:
    with backend.scope():
        suite.verify(component, check, backend, share=0.1)


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_models(check: str, backend: Backend) -> None:
    verify_model(backend, check, share=0.05)


def test_every_step_is_the_references(weights: Weights, image: Any) -> None:
    ran = vitref.trace(weights, image, LABELS, backend="torch").ran
    assert set(ran.values()) == {"reference"}


def test_what_it_is(backend: Backend) -> None:
    assert backend is backends.get("torch", device="cpu")
    assert backend.dtypes == ("float32", "float64")
    assert backend.versions["torch"] == torch.__version__
    assert backend.versions["device"] == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta", "", 99, ["cpu"]])
def test_a_device_that_cannot_be_used_is_refused(device: Any) -> None:
    with pytest.raises(BackendError) as caught:
        backends.get("torch", device=device)
    assert caught.value.where == "backend torch, device"
    assert repr(device) in caught.value.found


def test_arrays_are_copied(backend: Backend) -> None:
    array = np.arange(3.0)
    there = backend.from_host(array, "float64")
    array[0] = 7
    back = backend.to_host(there)
    back[1] = 7
    np.testing.assert_array_equal(backend.to_host(there), [0, 1, 2])


def test_a_broadcast_result_is_writable_memory_of_its_own(backend: Backend) -> None:
    back = backend.to_host(backend.xp.broadcast_to(backend.from_host(np.zeros(()), "float32"), (3,)))
    back[0] = 1
    np.testing.assert_array_equal(back, [1, 0, 0])


# Tensors in, tensors out


def test_tensors_come_back_as_tensors(weights: Weights, image: Any) -> None:
    expected = vitref.backward(weights, image, LABELS, dtype="float64")
    found = vitref.backward(weights, torch.tensor(image), LABELS, backend="torch", dtype="float64")
    assert isinstance(found.image, torch.Tensor)
    assert found.image.dtype == torch.float64
    np.testing.assert_allclose(found.image.numpy(), expected.image, rtol=0, atol=tolerance("float64", 10_000))


def test_results_are_ordinary_tensors(weights: Weights, image: Any) -> None:
    given = torch.tensor(image, dtype=torch.float32, requires_grad=True)
    y = vitref.forward(weights, given, backend="torch")
    assert not y.requires_grad
    weight = torch.ones(5, requires_grad=True)
    (weight * y).sum().backward()
    assert weight.grad.shape == (5,)


def test_memory_is_shared(backend: Backend) -> None:
    tensor = torch.arange(3.0)
    assert backend.from_dlpack is not None
    assert backend.from_dlpack(tensor).data_ptr() == tensor.data_ptr()
    writable = np.arange(3.0)
    assert backend.from_dlpack(writable).numpy().ctypes.data == writable.ctypes.data


def test_memory_of_another_device_is_refused(backend: Backend) -> None:
    assert backend.from_dlpack is not None
    with pytest.raises(BackendError, match="memory of the device meta.*device=") as caught:
        backend.from_dlpack(torch.zeros(2, device="meta"))
    assert caught.value.expected == "one of the device cpu"


@pytest.mark.parametrize("array", [3, "words", [1.0], object()])
def test_what_is_no_array_is_refused(array: Any, backend: Backend) -> None:
    assert backend.from_dlpack is not None
    with pytest.raises(BackendError, match="PyTorch cannot take"):
        backend.from_dlpack(array)


# PyTorch's own settings


def settings() -> tuple[Any, ...]:
    """Those that concern passes on the CPU and products of float32 matrices."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        precision = "set library by library"
    each = [library.fp32_precision for library in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)]
    return (
        precision,
        *each,
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
    )


def whole(precision: str) -> None:
    torch.set_float32_matmul_precision(precision)


def cuda_alone() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def cpu_alone() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


SETTINGS: dict[str, Callable[[], None]] = {
    "high": lambda: whole("high"),
    "medium": lambda: whole("medium"),
    "cuda alone": cuda_alone,
    "cpu alone": cpu_alone,
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
}


@pytest.fixture
def restored() -> Iterator[None]:
    """PyTorch's settings are back afterwards as they are at first."""
    yield
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    whole("highest")
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_change_nothing_and_are_not_changed(name: str, weights: Weights, image: Any) -> None:
    expected = bits(weights, image)
    fresh = vitref.init(CONFIG, seed=0)  # whose parameters are not on the device yet
    SETTINGS[name]()
    before = settings()
    assert bits(fresh, image) == expected
    assert settings() == before


def test_autocast_changes_nothing(weights: Weights, image: Any) -> None:
    expected = bits(weights, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bits(weights, image) == expected
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.usefixtures("restored")
def test_inside_a_pass_products_are_exact_and_nothing_is_taped(backend: Backend) -> None:
    whole("medium")
    with backend.scope():
        assert not torch.is_grad_enabled()
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.usefixtures("restored")
def test_settings_are_restored_after_an_error(backend: Backend) -> None:
    whole("high")
    before = settings()
    with suppress(ZeroDivisionError), backend.scope(), backend.scope():
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.usefixtures("restored")
def test_the_last_of_several_threads_restores_them(backend: Backend) -> None:
    whole("medium")
    before, seen, together = settings(), [], Barrier(2)

    def first() -> None:
        with backend.scope():
            together.wait()
        together.wait()

    def second() -> None:
        with backend.scope():
            together.wait()
            together.wait()
            seen.append(torch.get_float32_matmul_precision())

    threads = [Thread(target=first), Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["highest"]
    assert settings() == before


def test_too_little_memory_is_said(backend: Backend) -> None:
    said = "too little memory: wanted 3 TiB; .*Give fewer images"
    with pytest.raises(BackendError, match=said), backend.scope():
        raise torch.OutOfMemoryError("wanted 3 TiB\nmuch more of it")


@pytest.mark.gpu
@pytest.mark.parametrize("check", suite.CHECKS)
@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_component_on_a_gpu(component: str, check: str) -> None:
    backend = backends.get("torch", device="cuda")
    with backend.scope():
        suite.verify(component, check, backend, share=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_models_on_a_gpu(check: str) -> None:
    verify_model(backends.get("torch", device="cuda"), check, share=0.02)
