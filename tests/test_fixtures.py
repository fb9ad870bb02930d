"""vitref against what timm, transformers and Google's ViT computed in float64: `tests/fixtures/*/`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import agreement

FIXTURES = Path(__file__).parent / "fixtures"
CASES = sorted(path.parent.name for path in FIXTURES.glob("*/case.json"))

REQUIRED = (
    "google_mean",
    "google_representation",
    "google_resized_down",
    "google_resized_up",
    "google_token",
    "huggingface_head",
    "huggingface_non_square",
    "huggingface_pooler",
    "huggingface_resized_down",
    "huggingface_resized_up",
    "timm_layer_scale",
    "timm_mean_fc_norm",
    "timm_no_class_token",
    "timm_non_square",
    "timm_resized_down",
    "timm_resized_up",
    "timm_token",
)

BOUND = 1e-10
"""Relative error (L2) of every tensor."""


def test_every_case_is_there() -> None:
    assert set(REQUIRED) <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_recording(name: str) -> None:
    _, recorded = agreement.read(FIXTURES / name)
    errors = agreement.errors(agreement.found(FIXTURES / name), recorded)
    assert {key: error for key, error in errors.items() if not error < BOUND} == {}


@pytest.mark.parametrize("name", CASES)
def test_recording_is_complete(name: str) -> None:
    """Every output that has a name, the gradient of every parameter in the file, and of the image."""
    case, recorded = agreement.read(FIXTURES / name)
    weights = agreement.load(FIXTURES / name, case)
    taps = agreement.tap_names(case["library"], weights.config)
    outputs = {taps[key] for key, _ in agreement.starting_with("output.", recorded)}
    blocks = [f"blocks.{i}" for i in range(weights.config.depth)]
    assert len(blocks) >= 2
    assert outputs >= {"embed", *blocks, *(f"{block}.attn.softmax" for block in blocks), "tokens"}
    assert outputs & {"logits", "pooled", "head_input"}
    gradients = dict(agreement.starting_with("gradient.", recorded))
    assert gradients.keys() == {*weights.export(), "image"}
    resized = weights.config.grid != weights.config.position_grid
    assert len(list(agreement.starting_with("resized.", recorded))) == resized


@pytest.mark.parametrize("name", CASES)
def test_every_value_is_drawn(name: str) -> None:
    """No parameter is all zeros, all ones or constant: each would hide a mistake."""
    case, recorded = agreement.read(FIXTURES / name)
    weights = agreement.load(FIXTURES / name, case)
    assert {array.dtype.name for array in weights.values()} == {"float64"}
    assert [key for key, array in weights.items() if np.ptp(array) < 0.1] == []
    assert weights.config.heads % 2 == 1
    assert len(recorded["input.image"]) >= 2


WRONG = (
    ("timm_token", {"eps": 1e-5}),
    ("timm_token", {"activation": "gelu_tanh"}),
    ("timm_non_square", {"pool": "mean"}),
    ("timm_resized_up", {"position_resize": "bicubic"}),
    ("timm_resized_down", {"position_resize": "bicubic_antialias_sharp"}),
    ("huggingface_head", {"eps": 1e-6}),
    ("huggingface_pooler", {"activation": "gelu"}),
    ("huggingface_resized_up", {"position_resize": "bicubic_half"}),
    ("huggingface_resized_down", {"position_resize": "bicubic_antialias"}),
    ("google_token", {"activation": "gelu"}),
    ("google_token", {"eps": 1e-5}),
    ("google_resized_up", {"position_resize": "bilinear"}),
    ("google_resized_down", {"position_resize": "bilinear_antialias"}),
)


@pytest.mark.parametrize(("name", "fact"), WRONG)
def test_wrong_fact_is_noticed(name: str, fact: dict[str, Any]) -> None:
    _, recorded = agreement.read(FIXTURES / name)
    errors = agreement.errors(agreement.found(FIXTURES / name, **fact), recorded)
    final = [key for key in errors if key in ("output.logits", "output.head", "output.result", "loss")]
    assert all(errors[key] > 100 * BOUND for key in [*final, "gradient.image"])


def test_recordings_are_small() -> None:
    sizes = {name: sum(path.stat().st_size for path in (FIXTURES / name).iterdir()) for name in CASES}
    assert max(sizes.values()) < 300_000
    assert sum(sizes.values()) < 3_000_000
