"""A real pretrained checkpoint on the GPU, in every precision; needs the folder VITREF_TEST_DATA names."""

import json
from pathlib import Path

import numpy as np
import pytest

import vitref
from tests.gpu.conftest import Note
from tests.gpu.test_models import MODES, distance
from vitref.backends.interface import Backend
from vitref.testing import tolerance

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("mode", MODES)
def test_predictions(backend: Backend, note: Note, test_data: Path, mode: str) -> None:
    dtype, precision = MODES[mode]
    weights = vitref.load(test_data / "model.safetensors", convention="timm", heads=3)
    rows = json.loads((test_data / "labels.json").read_text())
    files = [test_data / "images" / row["file"] for row in rows]
    exact = vitref.forward(weights, files, dtype="float64", backend="numpy")
    found = vitref.forward(weights, files, dtype=dtype, precision=precision, backend=backend)
    note(f"logits {mode}", distance(found, exact))
    assert np.array_equal(found.argmax(axis=-1), exact.argmax(axis=-1))
    kept = {"tf32": "float16"}.get(precision, dtype)
    assert distance(found, exact) <= tolerance(kept, 768)
