"""What timm, transformers and Google's ViT computed exposes the mistakes too: no vitref code is the judge."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vitref
from tests.fixtures import agreement
from vitref import backends
from vitref.verify import mistakes
from vitref.verify.mistakes import Case, Mistake, plant

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "fixtures").glob("*/case.json"))
BOUND = 1e-10

UNSEEN = {
    "key_bias_missing": "equivalent",
    "class_token_folded": "equivalent",
    "blocks_sorted_as_text": "no recording has eleven blocks",
    "head_rows_as_text": "no recording has eleven classes",
    "half_the_heads": "no recording has an even number of heads that are not one in half",
    "heads_of_64": "no recording is 64 wide",
    "scale_without_root": "2 / head_dim is its root for the heads of all recordings, which are 4 wide",
    "half_statistics": "the recordings' own",
    "mean_and_std_exchanged": "both are 0.5 in the recordings",
    "statistics_of_bgr": "all channels of the recordings have the same",
    "picture_transposed": "no recording begins with a picture",
    "one_pass_variance": "right in float64",
    "softmax_overflows": "right in float64",
    **dict.fromkeys((m.name for m in mistakes.FAMILIES["training"]), "no recording of a training pass"),
    **dict.fromkeys(
        (m.name for m in mistakes.FAMILIES["preprocessing"]), "no recording begins with a picture"
    ),
}
"""Mistakes that the recordings cannot show -> why."""


def disagrees(folder: Path, mistake: Mistake | None) -> bool:
    """Whether the recording and vitref, with the mistake in it, differ."""
    case, recorded = agreement.read(folder)
    labels = recorded.get("input.labels")
    planted = Case(agreement.load(folder, case), recorded["input.image"], backends.get("numpy"), labels)
    try:
        planted = plant(mistake, planted) if mistake else planted
        errors = agreement.errors(found(planted, case, recorded), recorded)
    except (vitref.CheckpointError, KeyError, ValueError, RuntimeError):
        return True
    return any(not error < BOUND for name, error in errors.items() if not name.startswith("resized."))


@cache
def exposed(name: str) -> bool:
    """Whether some recording exposes the mistake."""
    return any(disagrees(folder, mistakes.find(name)) for folder in FOLDERS)


def found(planted: Case, case: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """What this model computes of what is recorded, under the library's names."""
    names = agreement.tap_names(case["library"], planted.weights.config)
    cotangent = {names[key]: array for key, array in agreement.starting_with("input.cotangent.", recorded)}
    given = {"cotangent": cotangent} if cotangent else {"labels": recorded["input.labels"]}
    given |= {**case["backward"], "dtype": "float64", "backend": planted.backend}
    trace = vitref.trace(planted.weights, planted.image, **given)
    gradients = planted.weights.export({name: trace[f"{name}:grad"] for name in planted.weights})
    loss = trace["loss"] if "loss" in trace else recorded["loss"]
    return {
        **{f"output.{key}": trace[tap] for key, tap in names.items() if tap in trace},
        **{f"gradient.{key}": array for key, array in gradients.items()},
        "gradient.image": trace["image:dy"],
        "loss": loss,
    }


def test_there_are_recordings_and_vitref_agrees_with_them() -> None:
    assert len(FOLDERS) >= 15
    assert [folder.name for folder in FOLDERS if disagrees(folder, None)] == []


@pytest.mark.parametrize("mistake", mistakes.CATALOGUE.values(), ids=lambda mistake: mistake.name)
def test_a_recording_exposes_the_mistake(mistake: Mistake) -> None:
    assert exposed(mistake.name) != (mistake.name in UNSEEN)
