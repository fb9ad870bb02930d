"""Memory, other libraries' arrays and bad use on a real GPU; it works afterwards."""

import threading
from typing import Any

import numpy as np
import pytest

import vitref
from tests.gpu.test_machine import device
from vitref import backends
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.errors import BackendError, Error
from vitref.testing import tolerance

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _a_gpu(stand_in: bool) -> None:
    if stand_in:
        pytest.skip("needs a GPU")


@pytest.fixture(scope="module")
def weights() -> vitref.Weights:
    config = vitref.Config.variant("ViT-Ti/16", convention="timm", classes=10, depth=2)
    return vitref.init(config, seed=0, dtype="float32")


def image(count: int = 2) -> HostArray:
    return np.random.default_rng(0).standard_normal((count, 3, 224, 224)).astype("float32")


def works(backend: Backend, weights: vitref.Weights) -> None:
    exact = vitref.forward(weights, image(), dtype="float64", backend="numpy")
    found = vitref.forward(weights, image(), backend=backend)
    assert np.linalg.norm(found - exact) <= 1e-5 * np.linalg.norm(exact)


def test_too_large_a_batch_says_what_fits(backend: Backend, weights: vitref.Weights) -> None:
    free, _ = device(backend).cuda_device.mem_info
    with backend.scope():
        taken = backend.from_host(np.zeros(1, np.uint8), "uint8")
    cupy = device(backend).cupy
    hog = cupy.empty(max(0, free - 2**30), np.uint8)
    try:
        with pytest.raises(BackendError, match="of the 512 images"):
            vitref.backward(weights, image(512), [0] * 512, backend=backend)
    finally:
        del hog, taken
        cupy.get_default_memory_pool().free_all_blocks()
    works(backend, weights)


def test_unknown_devices_are_refused(backend: Backend, weights: vitref.Weights) -> None:
    with pytest.raises(BackendError, match="GPU 99"):
        backends.get("cupy", device=99)
    works(backend, weights)


def test_arrays_of_cupy_are_taken_and_given_back(backend: Backend, weights: vitref.Weights) -> None:
    cupy = device(backend).cupy
    expected = vitref.forward(weights, image(), backend=backend)
    x = cupy.asarray(image())
    found = vitref.forward(weights, x, backend=backend)
    assert isinstance(found, cupy.ndarray)
    assert np.array_equal(found.get(), expected)
    assert np.array_equal(x.get(), image())


@pytest.mark.parametrize("own_stream", [False, True])
def test_arrays_of_torch_are_taken_and_given_back(
    backend: Backend, weights: vitref.Weights, own_stream: bool
) -> None:
    torch: Any = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    expected = vitref.forward(weights, image(), backend=backend)
    stream = torch.cuda.Stream() if own_stream else torch.cuda.current_stream()
    with torch.cuda.stream(stream):
        for _ in range(5):
            x = torch.as_tensor(image(), device="cuda")
            found = vitref.forward(weights, (x * 3) / 3 if own_stream else x, backend=backend)
            assert isinstance(found, torch.Tensor)
            assert found.is_cuda
            again = (found * 2 - found).cpu().numpy()
            allowed = tolerance("float32", weights.config.depth * weights.config.mlp_width)
            allowed *= np.abs(expected).max()
            assert np.abs(again - expected).max() <= allowed


def test_arrays_of_the_host_in_other_libraries_are_refused(backend: Backend, weights: vitref.Weights) -> None:
    torch: Any = pytest.importorskip("torch")
    with pytest.raises(BackendError, match="host memory"):
        vitref.forward(weights, torch.as_tensor(image()), backend=backend)
    works(backend, weights)


def test_wrong_use_leaves_the_device_as_it_was(backend: Backend, weights: vitref.Weights) -> None:
    cupy = device(backend).cupy
    for wrong in (cupy.zeros((2, 3, 224, 224), np.int32), cupy.zeros((2, 3, 10, 10), np.float32)):
        with pytest.raises(Error):
            vitref.forward(weights, wrong, backend=backend)
    with pytest.raises(Error):
        vitref.forward(weights, np.full_like(image(), np.nan), backend=backend, check_finite=True)
    works(backend, weights)


def test_input_prepared_in_another_thread(backend: Backend, weights: vitref.Weights) -> None:
    """While this one computes; the memory of earlier input is used again and again."""
    expected = [vitref.forward(weights, image() + n, backend=backend, dtype="float32") for n in range(4)]
    ready: list[Any] = []

    def prepare() -> None:
        for n in range(40):
            ready.append(backend.from_host(image() + n % 4, "float32"))

    helper = threading.Thread(target=prepare)
    helper.start()
    for n in range(40):
        while len(ready) <= n:
            pass
        found = vitref.forward(weights, ready[n], backend=backend)
        ready[n] = None
        assert np.array_equal(found.get(), expected[n % 4]), n
    helper.join()


def test_threads_share_the_device(backend: Backend, weights: vitref.Weights) -> None:
    expected = vitref.forward(weights, image(), backend=backend)
    results: list[HostArray] = []

    def run() -> None:
        for _ in range(5):
            results.append(vitref.forward(weights, image(), backend=backend))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(np.array_equal(found, expected) for found in results)
