"""A report held against the truth."""

from typing import Any

import numpy as np
import pytest

from vitref.benchmark.diagnosis import expect, problem
from vitref.benchmark.diagnosis.cell import Cell
from vitref.benchmark.diagnosis.judge import shown
from vitref.verify.verdicts import Cause, Diagnosis, Guilty, Report, TapVerdict

PLACE = problem.Place("token")


def cell(name: str, level: str = "taps", subject: str = "bug") -> Cell:
    return Cell(subject, name, level, "float32", PLACE)


def cause(mistake: str, *places: str, neighbours: tuple[str, ...] = ()) -> Cause:
    return Cause(mistake, "", places, "certain", 1.0, 100.0, neighbours=neighbours)


def report(*span: str, causes: tuple[Cause, ...] = ()) -> Report:
    guilty = (Guilty(span[-1], span, "forward", (), 100.0),) if span else ()
    return Report("differ", "float32", (), guilty, Diagnosis(causes, (), {}))


def said(of: Cell, given: Report) -> dict[str, Any]:
    names = {name: np.zeros(0) for name in expect.order(PLACE)}
    return expect.said(of, problem.at(of.place), shown(names, of.level), given)


ACT = "blocks.0.mlp.act"


@pytest.mark.parametrize(
    ("level", "span", "located"),
    [
        ("taps", [ACT], "exact"),
        ("taps", ["blocks.1.mlp.act"], ""),
        ("taps", ["blocks.0.mlp.fc1", ACT], "wide"),
        ("blocks", ["blocks.0.mlp.fc1", ACT, "blocks.0.mlp.fc2"], "span"),
        ("blocks", [ACT, "blocks.1.norm1"], "wide"),
        ("logits", [ACT, "blocks.1.norm1"], "span"),
    ],
)
def test_located(level: str, span: list[str], located: str) -> None:
    assert said(cell("tanh_form", level), report(*span))["located"] == located


def test_below_the_noise_the_cause_has_the_place() -> None:
    quiet = Report("agree", "float32", (), (), Diagnosis((cause("gelu_tanh_for_erf", ACT),), (), {}))
    assert said(cell("tanh_form"), quiet) == {
        "guilty": [ACT],
        "detected": True,
        "located": "exact",
        "named": "first",
    }


@pytest.mark.parametrize(
    ("causes", "named"),
    [
        ([cause("gelu_tanh_for_erf")], "first"),
        ([cause("bessel"), cause("gelu_tanh_for_erf")], "among"),
        ([cause("bessel", neighbours=("gelu_tanh_for_erf",))], "neighbour"),
        ([cause("bessel")], ""),
        ([], ""),
    ],
)
def test_named(causes: list[Cause], named: str) -> None:
    assert said(cell("tanh_form"), report(ACT, causes=tuple(causes)))["named"] == named


def test_a_cause_withheld_or_unknown_must_not_be_named() -> None:
    for of in (cell("tanh_form", subject="without"), cell("activation_clipped")):
        assert said(of, report(ACT))["named"] == "none"
        assert said(of, report(ACT, causes=(cause("quick_gelu"),)))["named"] == ""


def test_of_a_pair_both_count() -> None:
    pair = cell("eps_1e-5 + tanh_form", subject="pair")
    assert said(pair, report(ACT, causes=(cause("gelu_tanh_for_erf"), cause("eps_1e-5"))))["named"] == "first"
    assert said(pair, report(ACT, causes=(cause("eps_1e-5"),)))["named"] == "one"


def test_a_pattern_of_steps_is_met_by_any() -> None:
    of = cell("bias_averaged", "cotangents")
    assert said(of, report("blocks.2.mlp.fc2"))["located"] == "exact"


def test_a_lower_precision_shows_in_the_verdict_or_in_the_stored_bits() -> None:
    of = cell("softmax_float16")

    def tap(verdict: str, stored: str) -> Report:
        name = "blocks.0.attn.softmax"
        one = TapVerdict(name, name, verdict, stored, 1.0, 1.0, 8.0, 8.0, 0.0, 0.0, (2,))
        return Report("agree", "float32", (one,), ())

    assert said(of, tap("lower precision", "float32"))["detected"]
    assert said(of, tap("rounding", "float16"))["detected"]
    assert not said(of, tap("rounding", "float32"))["detected"]
