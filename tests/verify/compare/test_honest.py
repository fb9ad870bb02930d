"""Right programs agree in every precision, at every level of detail; only a precision is said of them."""

from collections import Counter
from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np
import pytest

import vitref
from tests.verify.compare import models
from vitref.array import HostArray
from vitref.errors import ConfigError
from vitref.verify import probes
from vitref.verify.compare import compare
from vitref.verify.evaluate import Evaluation
from vitref.verify.numerics import Realisation
from vitref.verify.verdicts import OUTCOMES, VERDICTS, Report

Cut = Callable[[Mapping[str, HostArray]], Mapping[str, HostArray]]
LEVELS: dict[str, Cut] = {
    "all taps": dict,
    "forward alone": models.forward_only,
    "block outputs": models.blocks,
    "logits": models.logits,
    "gradients": models.gradients,
}
STORAGE = ("float64", "float32", "float16", "bfloat16")


def judged(candidate: Mapping[str, HostArray], **options: object) -> Report:
    return compare(models.reference(), candidate, weights=models.weights(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("precision", STORAGE)
def test_every_precision_at_every_level(precision: str, level: str) -> None:
    report = judged(LEVELS[level](models.emulated(precision, seed=101)))
    assert (report.outcome, report.precision) == ("agree", precision)
    assert report.agrees
    assert report.first is None
    assert {tap.verdict for tap in report.taps} <= {"exact", "rounding"}
    assert max(tap.local / tap.threshold for tap in report.taps) < 0.75
    assert max(tap.end_to_end / tap.threshold_end_to_end for tap in report.taps) < 0.75


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize(
    "changed",
    [
        {"pool": "mean", "final_norm": "pooled", "class_token": False, "position_grid": (4, 4)},
        {"layer_scale": True, "pre_logits": 9, "depth": 1},
        {"position_grid": (3, 5), "position_resize": "bicubic", "qkv_bias": False, "activation": "gelu_tanh"},
        {"classes": 0, "pool": "mean_all", "heads": 5, "head_dim": 7},
    ],
    ids=["pooled", "scaled", "resized", "headless"],
)
def test_other_models_in_float32(changed: dict[str, object], seed: int) -> None:
    weights, image = models.weights(seed, **changed), models.image(seed)
    ends: dict[str, object] = {"labels": [1, 6]}
    if not weights.config.classes:
        ends = {"cotangent": np.random.default_rng(seed).standard_normal((2, 24))}
    reference = vitref.trace(weights, image, **ends)  # type: ignore[arg-type]
    candidate = vitref.trace(weights, image, dtype="float32", **ends)  # type: ignore[arg-type]
    report = compare(reference, candidate, weights=weights)
    assert (report.outcome, report.precision) == ("agree", "float32")


@pytest.mark.parametrize("name", probes.MODELS)
def test_every_probe(name: str) -> None:
    case = probes.cases()[name]
    cotangent = np.random.default_rng(0).standard_normal((len(case.image), case.weights.config.classes or 9))
    reference, candidate = (
        vitref.trace(case.weights, case.image, cotangent=cotangent, dtype=dtype)
        for dtype in ("float64", "float32")
    )
    assert compare(reference, candidate, weights=case.weights).outcome == "agree"


def test_the_reference_itself_is_exact() -> None:
    report = judged(models.reference())
    assert report.outcome == "agree"
    assert {tap.verdict for tap in report.taps} == {"exact"}
    assert {tap.error for tap in report.taps} == {0.0}
    assert report.missing == ()


@pytest.mark.parametrize("level", ["all taps", "block outputs"])
def test_tf32_is_a_lower_precision_and_is_named(level: str) -> None:
    report = judged(LEVELS[level](models.emulated("tf32", seed=102)))
    assert (report.outcome, report.precision) == ("agree in lower precision", "float32")
    assert report.agrees
    assert {tap.why for tap in report.taps if tap.verdict == "lower precision"} == {"tf32"}
    assert not report.guilty


def test_one_output_is_too_little_to_believe_in_a_lower_precision() -> None:
    """Any mistake may have its size; the precision is then to be named."""
    candidate = models.logits(models.emulated("tf32", seed=102))
    report = judged(candidate)
    assert report.outcome == "differ"
    assert "tf32" in report.taps[0].why
    report = judged(candidate, precision="tf32")
    assert (report.outcome, report.precision) == ("agree", "tf32")
    report = judged(models.logits(models.planted("quick_gelu")), precision="tf32")
    assert report.outcome == "differ"
    with pytest.raises(ConfigError, match="precision"):
        judged(candidate, precision="float8")


def test_weights_that_were_rounded_are_a_lower_precision() -> None:
    right = models.weights()
    short = {k: np.asarray(a).astype(ml_dtypes.bfloat16).astype(np.float32) for k, a in right.items()}
    report = judged(vitref.trace(right.replace(short), models.image(), dtype="float32"))
    assert report.outcome == "agree in lower precision"
    named = Counter(tap.why for tap in report.taps if tap.verdict == "lower precision")
    assert named.most_common(1)[0][0] == "bfloat16"


def test_one_step_in_tf32_is_found_and_those_behind_it_merely_inherit() -> None:
    """A single product, blocks.0's, with the operands of a GPU."""
    model = models.model(models.weights(), models.image())
    right, low = (Evaluation(model, Realisation(precision, 7)) for precision in ("float32", "tf32"))
    taps = dict(models.through(model, [low if place == 2 else right for place in range(5)]))
    report = judged(taps)
    lower = {tap.tap for tap in report.taps if tap.verdict == "lower precision"}
    assert report.outcome == "agree in lower precision"
    assert lower
    assert all(tap.startswith("blocks.0.") for tap in lower)
    assert {"blocks.0.attn.qkv", "blocks.0.mlp.fc2"} <= lower
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert kinds["blocks.0.norm1"] in ("exact", "rounding")
    assert kinds["blocks.1.attn.qkv"] == kinds["logits"] == "inherited"


def test_a_candidate_that_keeps_some_taps_wider() -> None:
    """Autocast: LayerNorm and the residual stream in float32, the rest in bfloat16."""
    wide = ("norm1", "norm2", "add1", "add2", "blocks.0", "blocks.1", "embed", "norm")
    steps = [tap for tap in models.reference() if tap.endswith(wide) and not tap.endswith(".attn")]
    stored = dict.fromkeys(steps, "float32")
    taps = models.forward_only(models.rounded_run("bfloat16", 103, stored))
    report = judged(taps)
    assert (report.outcome, report.precision) == ("agree", "bfloat16")
    formats = {tap.tap: tap.format for tap in report.taps}
    assert formats["blocks.0.norm1"] == "float32"
    assert formats["blocks.0.attn.qkv"] == "bfloat16"


def test_numba_in_float32() -> None:
    pytest.importorskip("numba")
    names = ["embed", "blocks.0", "blocks.1", "logits"]
    candidate = vitref.trace(models.weights(), models.image(), only=names, backend="numba", dtype="float32")
    assert judged(candidate).outcome == "agree"
    assert judged(models.logits(candidate)).outcome == "agree"


def test_a_whole_batch_and_one_image_agree_alike() -> None:
    for images in (1, 4):
        weights, image = models.weights(), models.image(3, images)
        reference = vitref.trace(weights, image)
        candidate = vitref.trace(weights, image, dtype="float32")
        assert compare(reference, candidate, weights=weights).outcome == "agree"


def test_what_a_report_says() -> None:
    report = judged(models.blocks(models.emulated("float32", 101)))
    assert [tap.tap for tap in report.taps] == ["embed", "blocks.0", "blocks.1", "logits"]
    assert report.outcome in OUTCOMES
    assert all(tap.verdict in VERDICTS for tap in report.taps)
    assert report.taps[1].shape == (2, 17, 24)
    assert report.taps[1].token is not None
    assert len(report.taps[1].token) == 2
    assert 0 < report.taps[1].noise < 1e-5
    assert {"patch_embed.proj", "blocks.1.attn.softmax", "norm", "head", "loss"} <= set(report.missing)
    assert not {"embed", "blocks.0", "logits"} & set(report.missing)
    assert report.about["images"] == 2
    assert report.about["runs"] == 3


def test_outcome_without_a_diagnosis_is_that_with_one() -> None:
    report = judged(models.emulated("float32", 104), diagnose=True)
    assert report.outcome == "agree"
    assert report.diagnosis is not None
    assert report.diagnosis.causes == ()
    assert report.diagnosis.unexplained == ()


def test_progress_is_told_and_ends() -> None:
    told: list[tuple[str, float]] = []
    judged(models.logits(models.reference()), progress=lambda what, share: told.append((what, share)))
    shares = [share for what, share in told if what == "Measuring"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
