"""The reason: which known mistake it is, where, and with what confidence; or that it is none of them."""

from collections.abc import Mapping

import pytest

import vitref
from tests.verify.compare import models
from tests.verify.compare.test_honest import LEVELS, judged
from vitref.array import HostArray
from vitref.verify import mistakes
from vitref.verify.compare import compare
from vitref.verify.mistakes import Mistake
from vitref.verify.numerics import Realisation
from vitref.verify.verdicts import Cause, Diagnosis, Report

B0, B1 = "blocks.0.", "blocks.1."

FAMILY = [
    "bessel",
    "eps_1e-3",
    "softmax_over_queries",
    "softmax_over_heads",
    "scale_missing",
    "scale_of_width",
    "qkv_interleaved_per_head",
    "qkv_rows_interleaved",
    "quick_gelu",
    "gelu_tanh_for_erf",
    "positions_one_late",
    "class_token_last",
    "kernel_transposed",
    "mean_for_class_token",
    "head_rows_shifted",
    "value_bias_missing",
    "residual_doubled",
    "scale_missing_in_dk",
    "mean_of_g_missing",
    "dbias_missing",
    "gelu_slope_missing",
    "block_without_gradient",
    "logits_by_a_factor",
    "eps",
]
"""Enough rivals for every cause here; the whole catalogue is tried once below."""

SMALL = [mistakes.find(name) for name in FAMILY]
BACKWARD = [mistakes.find(name) for name in ("softmax_sum_missing_in_dx", "gelu_slope_of_quick_gelu")]
BELOW_NOISE = mistakes.find("eps_outside_root")


def explained(
    taps: Mapping[str, HostArray], hypotheses: list[Mistake] | None = SMALL
) -> tuple[Report, Diagnosis]:
    report = judged(taps, diagnose=True, hypotheses=hypotheses)
    assert report.diagnosis is not None
    return report, report.diagnosis


def only(diagnosis: Diagnosis) -> Cause:
    (cause,) = diagnosis.causes
    assert diagnosis.unexplained == ()
    assert diagnosis.is_explained
    return cause


@pytest.mark.parametrize("level", ["forward alone", "block outputs", "logits"])
@pytest.mark.parametrize(
    "name", ["softmax_over_queries", "quick_gelu", "positions_one_late", "qkv_interleaved_per_head"]
)
def test_a_mistake_is_named_at_every_level(name: str, level: str) -> None:
    report, diagnosis = explained(LEVELS[level](models.planted(name)))
    cause = only(diagnosis)
    assert report.outcome == "differ"
    assert name == cause.mistake
    assert cause.confidence == "certain"
    assert cause.residual < 8 < cause.before
    assert next(iter(diagnosis.ranked)) == name
    assert diagnosis.tried > len(FAMILY) / 2


@pytest.mark.parametrize("name", ["mean_for_class_token", "head_rows_shifted", "bessel", "gelu_tanh_for_erf"])
def test_more_of_them_from_the_logits_alone(name: str) -> None:
    _, diagnosis = explained(models.logits(models.planted(name)))
    cause = only(diagnosis)
    assert name in (cause.mistake, *cause.neighbours)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("scale_missing_in_dk", "attn.scores"),
        ("mean_of_g_missing", "norm1"),
        ("gelu_slope_missing", "mlp.act"),
        ("dbias_missing", "attn.qkv"),
    ],
)
def test_a_mistake_of_the_backward_pass(name: str, step: str) -> None:
    _, diagnosis = explained(models.planted(name))
    cause = only(diagnosis)
    assert cause.mistake == name
    assert {B0 + step, B1 + step} <= set(cause.places)


@pytest.mark.parametrize("name", ["softmax_over_queries", "quick_gelu"])
def test_the_way_back_of_a_wrong_forward_pass_needs_no_cause_of_its_own(name: str) -> None:
    _, diagnosis = explained(models.planted(name), [*SMALL, *BACKWARD])
    assert only(diagnosis).mistake == name


def test_a_mistake_in_every_block_is_searched_for_once() -> None:
    weights, image = models.weights(depth=9), models.image()
    wrong = models.model(weights, image)
    wrong = wrong.changed(edits=mistakes.find("softmax_over_queries").edits_with())
    taps = models.evaluated(wrong, Realisation("float32", 5))
    reference = vitref.trace(weights, image)
    report = compare(reference, taps, weights=weights, diagnose=True, hypotheses=SMALL)
    assert report.diagnosis is not None
    assert len(only(report.diagnosis).places) == 9
    assert report.diagnosis.tried < 3 * len(SMALL)


def test_a_gradient_that_never_leaves_a_block() -> None:
    _, diagnosis = explained(models.planted("block_without_gradient"))
    assert only(diagnosis).mistake == "block_without_gradient"


def test_the_backward_pass_by_gradients_alone() -> None:
    _, diagnosis = explained(models.gradients(models.planted("scale_missing_in_dk")))
    assert only(diagnosis).mistake == "scale_missing_in_dk"


@pytest.mark.parametrize("place", [2, 3])
def test_places_are_where_it_is(place: int) -> None:
    _, diagnosis = explained(models.forward_only(models.wrong_in_one_link("softmax_over_queries", place)))
    assert only(diagnosis).places == (f"blocks.{place - 2}.attn.softmax",)
    _, diagnosis = explained(models.forward_only(models.planted("softmax_over_queries")))
    assert only(diagnosis).places == (f"{B0}attn.softmax", f"{B1}attn.softmax")


def test_a_cause_says_what_to_look_for_and_what_would_refute_it() -> None:
    _, diagnosis = explained(models.forward_only(models.planted("softmax_over_queries")))
    cause, mistake = only(diagnosis), mistakes.find("softmax_over_queries")
    assert (cause.what, cause.evidence, cause.refute) == (mistake.what, mistake.evidence, mistake.refute)
    assert mistake.difference() in cause.lines
    assert cause.refute


@pytest.mark.parametrize("level", ["forward alone", "block outputs", "logits"])
def test_two_mistakes_at_once(level: str) -> None:
    both = ("softmax_over_queries", "quick_gelu")
    report, diagnosis = explained(LEVELS[level](models.planted(*both)))
    assert report.outcome == "differ"
    assert {cause.mistake for cause in diagnosis.causes} == set(both)
    assert diagnosis.unexplained == ()


def test_two_mistakes_in_different_blocks_have_their_own_places() -> None:
    _, diagnosis = explained(models.forward_only(models.planted("positions_one_late", "scale_missing")))
    places = {cause.mistake: cause.places for cause in diagnosis.causes}
    assert places.keys() == {"positions_one_late", "scale_missing"}
    assert places["positions_one_late"] == ("pos_embed",)
    assert places["scale_missing"] == (f"{B0}attn.scores", f"{B1}attn.scores")


@pytest.mark.parametrize("level", ["forward alone", "logits"])
@pytest.mark.parametrize("name", ["softmax_over_queries", "positions_one_late", "mean_for_class_token"])
def test_a_cause_that_is_not_known_is_none_of_those_that_are(name: str, level: str) -> None:
    known = [one for one in SMALL if one.name != name and name not in one.alike]
    report, diagnosis = explained(LEVELS[level](models.planted(name)), known)
    assert report.outcome == "differ"
    assert diagnosis.causes == ()
    assert not diagnosis.is_explained
    if level == "forward alone":
        assert report.first is not None
        assert report.first.step in diagnosis.unexplained


def test_one_of_two_known_names_that_one_and_leaves_the_other() -> None:
    known = [one for one in SMALL if one.name != "mean_for_class_token"]
    taps = models.forward_only(models.planted("softmax_over_queries", "mean_for_class_token"))
    _, diagnosis = explained(taps, known)
    assert [cause.mistake for cause in diagnosis.causes] == ["softmax_over_queries"]
    assert diagnosis.unexplained == ("pool",)
    assert not diagnosis.is_explained


@pytest.mark.parametrize("eps", [3e-5, 4e-3])
def test_a_constant_is_estimated(eps: float) -> None:
    _, diagnosis = explained(models.forward_only(models.planted(f"eps={eps}")))
    cause = only(diagnosis)
    assert cause.mistake == "eps"
    assert cause.value == pytest.approx(eps, rel=0.01)


def test_a_factor_from_the_logits() -> None:
    _, diagnosis = explained(models.logits(models.planted("logits_by_a_factor=1.37")))
    cause = only(diagnosis)
    assert cause.mistake == "logits_by_a_factor"
    assert cause.value == pytest.approx(1.37, rel=1e-4)


def test_a_mistake_without_a_constant_is_preferred_to_one_with_it() -> None:
    _, diagnosis = explained(models.forward_only(models.planted("eps_1e-3")))
    assert only(diagnosis).mistake == "eps_1e-3"


@pytest.mark.parametrize(("name", "precision"), [("quick_gelu", "bfloat16"), ("eps_outside_root", "float32")])
def test_what_lies_below_the_noise_is_systematic(name: str, precision: str) -> None:
    """No norm tells; the shape of the error does."""
    taps = models.forward_only(models.emulated(precision, 5, name))
    assert judged(taps).outcome == "agree"
    report, diagnosis = explained(taps, [*SMALL, BELOW_NOISE])
    (cause,) = diagnosis.causes
    assert cause.mistake == name
    assert cause.share == pytest.approx(1, abs=0.1)
    assert report.outcome == "differ"
    assert not report.guilty
    systematic = {tap.tap: tap.why for tap in report.taps if tap.verdict == "systematic"}
    assert set(systematic.values()) == {name}
    assert set(systematic) == set(cause.places) & {tap.tap for tap in report.taps}
    assert all(place.endswith(("mlp.act", "norm1", "norm2", "norm")) for place in cause.places)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("level", ["forward alone", "logits"])
def test_nothing_is_named_where_nothing_is_wrong(precision: str, level: str) -> None:
    report, diagnosis = explained(LEVELS[level](models.emulated(precision, 6)))
    assert (report.outcome, diagnosis.causes, diagnosis.unexplained) == ("agree", (), ())


def fused(seed: int) -> models.Taps:
    """A right program in bfloat16 that rounds in fewer places: attention and norms as one kernel each."""
    inside = ("attn.scores", "attn.softmax", "norm1", "norm2", "mlp.act")
    stored = {f"blocks.{i}.{name}": "float32" for i in range(2) for name in inside}
    return models.short(models.rounded_run("bfloat16", seed, stored))


@pytest.mark.parametrize("level", ["block outputs", "logits"])
def test_other_places_of_rounding_are_no_mistake(level: str) -> None:
    """Own runs, which round elsewhere, may agree among themselves to the last bit."""
    report, diagnosis = explained(LEVELS[level](fused(8)), None)
    assert (report.outcome, diagnosis.causes) == ("agree", ())


def test_a_mistake_too_small_to_tell_is_undecided() -> None:
    known = [mistakes.find("gelu_tanh_for_erf")]
    _, diagnosis = explained(models.blocks(fused(8)), known)
    assert diagnosis.undecided == ("gelu_tanh_for_erf",)
    _, diagnosis = explained(models.forward_only(models.emulated("bfloat16", 8)), known)
    assert diagnosis.undecided == ()


def test_what_only_adds_up_is_found_and_not_named() -> None:
    """Every sum is off by less than rounding explains, always to the same side."""
    weights, image = models.weights(depth=24), models.image()
    lines = {"add": ("return a + b, -> return (a + b) * (1 + 2.0**-22),",)}
    wrong = models.model(weights, image).changed(edits=lines)
    taps = models.evaluated(wrong, Realisation("float32", 5))
    report = compare(
        vitref.trace(weights, image), taps, weights=weights, diagnose=True, hypotheses=[*SMALL, BELOW_NOISE]
    )
    assert report.outcome == "differ"
    assert all(tap.local < tap.threshold for tap in report.taps)
    assert [tap.verdict for tap in report.taps].count("bug") == 1
    assert report.diagnosis is not None
    assert report.first is not None
    assert report.diagnosis.causes == ()
    assert report.diagnosis.unexplained == (report.first.step,)
    assert len(report.first.span) > 100


def test_a_lower_precision_is_no_mistake() -> None:
    report, diagnosis = explained(models.forward_only(models.emulated("tf32", 6)))
    assert report.outcome == "agree in lower precision"
    assert (diagnosis.causes, diagnosis.unexplained) == ((), ())


def test_with_the_whole_catalogue() -> None:
    for name in ("softmax_over_queries", "qkv_rows_interleaved"):
        _, diagnosis = explained(models.logits(models.planted(name)), None)
        cause = only(diagnosis)
        assert name in (cause.mistake, *cause.neighbours)
