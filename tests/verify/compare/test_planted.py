"""Planted mistakes: found, and put down to the step that has them; what only inherits them is not blamed."""

import numpy as np
import pytest

from tests.verify.compare import models
from tests.verify.compare.test_honest import Cut, judged
from vitref.verify.verdicts import Guilty, Report

B0, B1 = "blocks.0.", "blocks.1."

FORWARD = {
    "kernel_transposed": "patch_embed.proj",
    "patches_by_columns": "patch_embed.unfold",
    "class_token_last": "cls_token",
    "positions_one_late": "pos_embed",
    "eps_1e-3": B0 + "norm1",
    "bessel": B0 + "norm1",
    "qkv_bias_missing": B0 + "attn.qkv",
    "qkv_rows_interleaved": B0 + "attn.qkv",
    "qkv_interleaved_per_head": B0 + "attn.q",
    "scale_missing": B0 + "attn.scores",
    "softmax_over_queries": B0 + "attn.softmax",
    "heads_merged_innermost": B0 + "attn.merge",
    "residual_after_norm": B0 + "add1",
    "gelu_tanh_for_erf": B0 + "mlp.act",
    "mean_for_class_token": "pool",
    "head_rows_shifted": "head",
    "loss_summed": "loss",
}
"""Mistake -> the first step that is wrong."""

BACKWARD = {
    "loss_gradient_without_labels": "loss",
    "mean_of_g_missing": "norm",
    "norm_dweight_without_xhat": "norm",
    "dbias_missing": "head",
    "cotangent_halved_at_sums": B1 + "add2",
    "gelu_slope_missing": B1 + "mlp.act",
    "dweight_transposed": B1 + "attn.proj",
    "softmax_sum_missing_in_dx": B1 + "attn.softmax",
    "scale_missing_in_dk": B1 + "attn.scores",
    "class_token_gradient_of_one_image": "cls_token",
    "kernel_gradient_channels_last": "patch_embed.proj",
}
"""Mistake of the backward pass -> the first wrong step on the way back."""


def first(report: Report) -> Guilty:
    assert report.outcome == "differ"
    assert not report.agrees
    assert report.first is not None
    return report.first


@pytest.mark.parametrize(("name", "step"), FORWARD.items())
def test_the_first_wrong_step(name: str, step: str) -> None:
    report = judged(models.planted(name))
    guilty = first(report)
    assert guilty.step == step
    assert guilty.span == (step,)
    assert guilty.passes in ("forward", "both")
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert all(kinds[tap] == "bug" for tap in guilty.taps)
    assert kinds["image"] == "exact"


@pytest.mark.parametrize(("name", "step"), BACKWARD.items())
def test_the_first_wrong_step_of_the_backward_pass(name: str, step: str) -> None:
    report = judged(models.planted(name))
    guilty = first(report)
    assert guilty.step == step
    assert guilty.passes == "backward"
    assert all(tap.endswith((":dy", ":grad")) for found in report.guilty for tap in found.taps)
    forward = {tap.verdict for tap in report.taps if ":" not in tap.tap}
    assert forward <= {"exact", "rounding"}


@pytest.mark.parametrize("place", [2, 3])
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("scale_missing", "attn.scores"),
        ("softmax_over_queries", "attn.softmax"),
        ("softmax_sum_missing_in_dx", "attn.softmax"),
        ("bessel", "norm1"),
    ],
)
def test_a_mistake_in_one_block_alone(name: str, step: str, place: int) -> None:
    block = f"blocks.{place - 2}"
    report = judged(models.wrong_in_one_link(name, place))
    assert first(report).step == f"{block}.{step}"
    assert all(found.step.startswith(f"{block}.") for found in report.guilty)


def test_what_only_inherits_is_told_from_what_is_wrong() -> None:
    report = judged(models.wrong_in_one_link("softmax_over_queries", 2))
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert kinds[f"{B0}attn.softmax"] == "bug"
    assert [tap for tap in kinds if kinds[tap] == "bug" and ":" not in tap] == [f"{B0}attn.softmax"]
    before = (f"{B0}norm1", f"{B0}attn.q", f"{B0}attn.scores", "embed")
    behind = (f"{B0}attn.context", f"{B0}add1", f"{B1}attn.softmax", "logits")
    assert all(kinds[tap] in ("exact", "rounding") for tap in before)
    assert all(kinds[tap] == "inherited" for tap in behind)
    assert kinds["head.bias:grad"] == "inherited"


def test_wrong_elements_are_shown() -> None:
    candidate = dict(models.planted())
    changed = candidate[f"{B1}mlp.fc1"].copy()
    changed[1, 3, 4] += 0.5
    candidate[f"{B1}mlp.fc1"] = changed
    report = judged(models.forward_only(candidate))
    (wrong,) = [tap for tap in report.taps if tap.tap == f"{B1}mlp.fc1"]
    assert wrong.verdict == "bug"
    assert wrong.token == (1, 3)
    assert wrong.worst[0].index == (1, 3, 4)
    assert wrong.worst[0].candidate - wrong.worst[0].reference == pytest.approx(0.5, abs=1e-4)
    assert wrong.local > wrong.threshold
    assert [found.step for found in report.guilty] == [f"{B1}mlp.fc1", f"{B1}mlp.act"]


def test_one_wrong_token_in_the_attention_of_one_image() -> None:
    candidate = dict(models.planted())
    changed = candidate[f"{B0}attn.softmax"].copy()
    changed[0, 1, 5] = changed[0, 1, 5, ::-1]
    candidate[f"{B0}attn.softmax"] = changed
    report = judged(models.forward_only(candidate))
    wrong = next(tap for tap in report.taps if tap.tap == f"{B0}attn.softmax")
    assert (wrong.verdict, wrong.token) == ("bug", (0, 5))
    (picture,) = report.pictures
    assert "attn.softmax" in picture.title
    assert "image 0, head 1" in picture.title
    assert picture.candidate.shape == picture.reference.shape == (17, 17)
    assert np.allclose(picture.reference.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("missing", "span"),
    [
        (("context",), ("softmax",)),
        (("scores",), ("scores", "softmax")),
        (("softmax",), ("softmax", "context")),
        (("scores", "softmax"), ("scores", "softmax", "context")),
        (("scores", "softmax", "context", "merge"), ("scores", "softmax", "context", "merge", "proj")),
        (("q", "k", "v", "scores"), ("q", "scores", "softmax")),
    ],
)
def test_missing_taps_widen_the_span_no_more_than_they_must(
    missing: tuple[str, ...], span: tuple[str, ...]
) -> None:
    """The softmax of block 0 is wrong. Whatever is missing, the smallest span that holds it is named."""
    taps = models.forward_only(models.wrong_in_one_link("softmax_over_queries", 2))
    report = judged(models.without(taps, [f"{B0}attn.{name}" for name in missing]))
    assert first(report).span == tuple(f"{B0}attn.{name}" for name in span)
    assert set(report.missing) == {f"{B0}attn.{name}" for name in missing if name not in ("k", "v")} | {
        "loss"
    }


def test_block_outputs_name_the_block() -> None:
    report = judged(models.blocks(models.wrong_in_one_link("softmax_over_queries", 3)))
    assert first(report).step == f"{B1}add2"
    assert first(report).span[0] == f"{B1}norm1"
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert (kinds["blocks.1"], kinds["logits"]) == ("bug", "inherited")
    assert {kinds["embed"], kinds["blocks.0"]} <= {"exact", "rounding"}


def test_logits_alone_blame_the_whole_model() -> None:
    report = judged(models.logits(models.planted("quick_gelu")))
    assert first(report).step == "logits"
    assert len(first(report).span) > 30


def test_gradients_alone_show_a_mistake_of_the_backward_pass() -> None:
    report = judged(models.gradients(models.planted("scale_missing_in_dk")))
    guilty = first(report)
    assert guilty.passes == "backward"
    assert f"{B1}attn.scores" in guilty.span
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert kinds["logits"] == "rounding"
    assert kinds["head.weight:grad"] == kinds["blocks.1.mlp.fc1.weight:grad"] == "rounding"


@pytest.mark.parametrize("level", [models.forward_only, models.blocks, models.logits])
@pytest.mark.parametrize("name", ["softmax_over_queries", "heads_merged_innermost"])
def test_mistakes_are_found_in_bfloat16_too(name: str, level: Cut) -> None:
    assert judged(level(models.emulated("bfloat16", 5))).outcome == "agree"
    report = judged(level(models.emulated("bfloat16", 5, name)))
    assert (report.outcome, report.precision) == ("differ", "bfloat16")
    if level is models.forward_only:
        assert first(report).step == FORWARD[name]


def test_guilty_steps_come_in_the_order_of_the_pass() -> None:
    steps = [found.step for found in judged(models.planted("bessel")).guilty]
    assert steps == [f"{B0}norm1", f"{B0}norm2", f"{B1}norm1", f"{B1}norm2", "norm"]
    steps = [found.step for found in judged(models.planted("norm_dweight_without_xhat")).guilty]
    assert steps[0] == "norm"
    assert sorted(steps[1:3]) == [f"{B1}norm1", f"{B1}norm2"]
    assert sorted(steps[3:]) == [f"{B0}norm1", f"{B0}norm2"]


def test_the_taps_of_a_step_come_worst_first() -> None:
    report = judged(models.planted("softmax_over_queries"))
    ratio = {tap.tap: max(tap.local, tap.end_to_end) for tap in report.taps}
    for found in report.guilty:
        assert [ratio[tap] for tap in found.taps] == sorted((ratio[tap] for tap in found.taps), reverse=True)
        assert found.ratio == ratio[found.taps[0]]
