"""CUDA graphs: a replayed pass gives the bits of one run step by step, and disturbs nothing."""

from typing import Any

import numpy as np
import pytest

import vitref
from vitref import backends
from vitref.array import HostArray
from vitref.backends.cupy_runtime.graphs import WARM_UPS, Recording
from vitref.backends.interface import Backend

pytestmark = pytest.mark.gpu

MODES = [("float32", "strict"), ("float32", "fp32x3"), ("float32", "tf32"), ("bfloat16", "strict")]


@pytest.fixture(scope="module")
def plain(backend: Backend, stand_in: bool) -> Backend:
    """The backend without graphs; a stand-in records none at all."""
    if stand_in:
        pytest.skip("there are no graphs on the CPU")
    return backends.get("cupy", graphs=False)


def weights(seed: int, model: str = "ViT-Ti/16") -> vitref.Weights:
    config = vitref.Config.variant(model, convention="timm", classes=10, depth=4)
    return vitref.init(config, seed=seed, dtype="float32")


def image(count: int, seed: int = 0) -> HostArray:
    return np.random.default_rng(seed).standard_normal((count, 3, 224, 224)).astype("float32")


def recordings(backend: Backend) -> list[Recording]:
    assert backend.replay is not None
    owners: Any = backend.replay.__self__._owners  # type: ignore[attr-defined]
    return [recording for _, by_key in owners.values() for recording in by_key.values()]


@pytest.mark.parametrize(("dtype", "precision"), MODES)
@pytest.mark.parametrize("count", [1, 3, 16])
def test_bits_of_a_replay(backend: Backend, plain: Backend, dtype: str, precision: str, count: int) -> None:
    chosen, options = weights(0), {"dtype": dtype, "precision": precision}
    for seed in range(WARM_UPS + 3):
        x = image(count, seed)
        found = vitref.forward(chosen, x, backend=backend, **options)  # type: ignore[arg-type]
        expected = vitref.forward(chosen, x, backend=plain, **options)  # type: ignore[arg-type]
        assert found.tobytes() == expected.tobytes(), f"call {seed}"
    refused = [recording.refused for recording in recordings(backend) if recording.refused]
    assert refused == []
    assert any(recording.graph is not None for recording in recordings(backend))


def test_two_models_in_turn_with_other_work_between(backend: Backend, plain: Backend) -> None:
    first, second, big = weights(1), weights(2), image(40)
    expected = [vitref.forward(model, image(2), backend=plain) for model in (first, second)]
    for _ in range(WARM_UPS + 3):
        for model, known in zip((first, second), expected, strict=True):
            found = vitref.forward(model, image(2), backend=backend)
            vitref.backward(model, big, [0] * 40, backend=backend)
            assert found.tobytes() == known.tobytes()


def test_results_are_the_callers_own(backend: Backend, plain: Backend) -> None:
    chosen, results = weights(3), []
    for seed in range(WARM_UPS + 4):
        results.append(vitref.forward(chosen, image(1, seed), backend=backend))
    for seed, found in enumerate(results):
        assert found.tobytes() == vitref.forward(chosen, image(1, seed), backend=plain).tobytes()


def test_recordings_go_with_their_model(backend: Backend, plain: Backend) -> None:
    before, chosen = len(recordings(backend)), weights(4)
    for _ in range(WARM_UPS + 1):
        vitref.forward(chosen, image(1), backend=backend)
    assert len(recordings(backend)) > before
    del chosen
    import gc

    gc.collect()
    assert len(recordings(backend)) <= before
