"""The real pretrained ViT-Ti/16 on accelerated backends, against the recorded float64 answers.

Needs the folder that VITREF_TEST_DATA names; skipped without it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import vitref
from vitref import backends
from vitref.array import HostArray

NAMES = ["numba"]

GRADIENT = {"float64": 1e-9, "float32": 2e-5}
"""The bounds that the reference keeps (tests/test_real_checkpoint.py)."""


@pytest.fixture(scope="module", params=NAMES)
def backend(request: pytest.FixtureRequest) -> Any:
    if reason := backends.available()[request.param]:
        pytest.skip(reason)
    return backends.get(request.param)


@pytest.fixture(scope="module")
def weights(test_data: Path) -> vitref.Weights:
    return vitref.load(test_data / "model.safetensors", convention="timm", heads=3)


@pytest.fixture(scope="module")
def pixels(test_data: Path) -> HostArray:
    crops = np.load(test_data / "crops_uint8.npy")
    return np.asarray((crops.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5)


def relative(found: HostArray, expected: HostArray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-10), ("float32", 1e-5)])
def test_logits_of_all_images(
    backend: Any, weights: vitref.Weights, pixels: HostArray, test_data: Path, dtype: str, bound: float
) -> None:
    expected = np.load(test_data / "logits_float64.npy")
    found = np.concatenate(
        [vitref.forward(weights, some, backend=backend, dtype=dtype) for some in np.array_split(pixels, 3)]
    )
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert max(map(relative, found, expected)) < bound


@pytest.mark.parametrize("dtype", GRADIENT)
def test_gradients(
    backend: Any, weights: vitref.Weights, pixels: HostArray, test_data: Path, dtype: str
) -> None:
    summary = json.loads((test_data / "grads_summary_float64.json").read_text())
    recorded = load_file(test_data / "grads_some_float64.safetensors")
    image = pixels[summary["rows"]]
    found = vitref.backward(weights, image, summary["labels"], backend=backend, dtype=dtype)
    assert found.loss == pytest.approx(summary["loss_value"], rel=1e-6 if dtype == "float32" else 1e-12)
    errors = {name: relative(found.weights[name], recorded[name]) for name in recorded if name in weights}
    errors["image"] = relative(found.image[0], recorded["input_grad_row0"])
    assert len(errors) == 119
    assert {name: error for name, error in errors.items() if error >= GRADIENT[dtype]} == {}
    for name, row in summary["params"].items():
        assert abs(np.linalg.norm(found.weights[name]) / row["l2"] - 1) < GRADIENT[dtype], name
