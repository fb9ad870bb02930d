"""Numbers as they are read aloud, names folded, and the verdict in one sentence."""

import dataclasses
import math

import pytest

from tests.verify.reports import samples
from vitref.verify.reports import headline
from vitref.verify.reports.words import folded, listed, number, times
from vitref.verify.verdicts import Guilty


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (4e-5, "under 0.001"),
        (0.344, "0.34"),
        (2.31, "2.3"),
        (9.96, "10"),
        (127.0, "130"),
        (3.42e5, "340,000"),
        (999_999.0, "1 million"),
        (1.3e7, "13 million"),
        (6e8, "600 million"),
        (5e12, "5 trillion"),
        (4e17, "4e+17"),
        (math.inf, "unbounded"),
        (math.nan, "unbounded"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_times_without_bound() -> None:
    assert times(math.inf) == "infinitely many times"


def test_folded_names_differ_in_the_block_alone() -> None:
    names = ["embed", *(f"blocks.{block}.attn" for block in (0, 1, 2, 5, 10)), "blocks.3", "blocks.4.attn:dy"]
    assert folded(names) == ["embed", "blocks.0-2,5,10.attn", "blocks.3", "blocks.4.attn:dy"]
    assert folded(f"blocks.{block}.norm1 ... blocks.{block}" for block in (1, 0)) == [
        "blocks.0-1.norm1 ... blocks.0-1"
    ]
    assert folded(["blocks.0.norm1 ... blocks.3"]) == ["blocks.0.norm1 ... blocks.3"]
    assert folded(["a{}b"]) == ["a{}b"]


def test_listed_counts_what_it_leaves_out() -> None:
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"


def test_headline_of_a_named_bug() -> None:
    assert headline(samples.wrong_softmax()) == (
        "differ: the first wrong step is blocks.0.attn.softmax (forward), 340,000 times the rounding noise "
        "of float32. It is softmax_over_queries: the scores are normalised over the queries instead of the "
        "keys (certain)."
    )


def test_headline_without_diagnosis_names_no_cause() -> None:
    said = headline(samples.wrong_softmax(diagnosis=False))
    assert said.endswith("340,000 times the rounding noise of float32.")


def test_headline_of_a_span_without_known_cause() -> None:
    assert headline(samples.only_logits()) == (
        "differ: the first wrong step is one of the 31 steps from image to logits (forward and backward), "
        "13 million times the rounding noise of float32. None of the known causes explains it."
    )


def test_headline_of_a_pair() -> None:
    said = headline(samples.only_logits(samples.SOFTMAX, samples.EPS))
    assert "(certain), together with eps_other: LayerNorm adds another eps to the variance (likely)." in said
    assert said.endswith("No known cause explains logits.")


def test_headline_of_agreement() -> None:
    assert headline(samples.honest()) == (
        "agree: 50 taps compared, all within the rounding noise of float32; nearest to the limit is loss, "
        "2.3 times the noise where 8 are allowed."
    )
    assert headline(samples.honest("exact")) == "agree: 50 taps compared, all exact in float32."
    assert "in 1 of 3 taps only in a lower precision (first blocks.0.mlp.fc1, bfloat16 products)" in headline(
        samples.lower_precision()
    )


def test_headline_of_what_lies_below_the_noise() -> None:
    assert headline(samples.systematic()) == (
        "differ: every tap is within the rounding noise of bfloat16, yet not by chance; blocks.0.norm1 is "
        "the first of them. It is eps_other: LayerNorm adds another eps to the variance (likely)."
    )


def test_headline_when_no_step_is_to_blame() -> None:
    report = dataclasses.replace(samples.wrong_softmax(diagnosis=False), guilty=(), precision="mixed")
    assert headline(report) == "differ: no single step can be shown to be wrong."
    guilty = Guilty("head", ("head",), "both", ("head",), 50.0)
    said = headline(dataclasses.replace(report, guilty=(guilty,)))
    assert "head (forward and backward), 50 times the rounding noise of its mixed precision." in said


def test_a_cause_that_does_not_explain_the_first_wrong_step_is_not_said_to() -> None:
    said = headline(samples.only_logits(samples.SOFTMAX))
    assert "float32. None of the known causes explains it. Later steps have softmax_over_queries:" in said
    assert "It is" not in said
