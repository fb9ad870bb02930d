"""JSON: every field of the report, strict, with its documented keys."""

import dataclasses
import json
import math

import pytest

from tests.verify.reports import samples
from vitref.verify.reports import headline, plain
from vitref.verify.verdicts import Report, TapVerdict

REPORTS = {
    "named": samples.wrong_softmax(),
    "honest": samples.honest(),
    "unnamed": samples.only_logits(),
    "systematic": samples.systematic(),
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_round_trip(report: Report) -> None:
    values = plain(report)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert set(values) == {"format", "agrees", "headline", "first"} | {
        f.name for f in dataclasses.fields(Report)
    }


def test_values_are_those_of_the_report() -> None:
    report = samples.wrong_softmax()
    values = plain(report)
    assert (values["agrees"], values["first"]) == (False, "blocks.0.attn.softmax")
    assert values["headline"] == headline(report)
    assert values["diagnosis"]["causes"][0]["mistake"] == "softmax_over_queries"
    assert values["diagnosis"]["ranked"]["causal_mask"] == 4.1e3
    assert {f.name for f in dataclasses.fields(TapVerdict)} == set(values["taps"][0])
    assert [(tap.tap, tap.local, list(tap.shape)) for tap in report.taps] == [
        (row["tap"], row["local"], row["shape"]) for row in values["taps"]
    ]


def test_what_is_not_finite_is_null() -> None:
    bug = samples.verdict("logits", "bug", math.inf, math.nan, error=-math.inf)
    values = plain(dataclasses.replace(samples.honest(), taps=(bug,)))
    assert [values["taps"][0][key] for key in ("local", "end_to_end", "error")] == [None] * 3
    assert plain(samples.wrong_softmax())["about"]["rule"]["limit"] is None


def test_pictures_without_their_values() -> None:
    assert plain(samples.wrong_softmax())["pictures"] == [
        {"title": "blocks.0.attn.softmax, image 0, head 1", "shape": [17, 17]}
    ]
