"""Which taps the short table shows, and what stands in a row."""

import dataclasses
import math

import pytest

from tests.verify.reports import samples
from vitref.verify.reports import rows
from vitref.verify.reports.words import count, margin
from vitref.verify.verdicts import Guilty


@pytest.mark.parametrize(
    ("tap", "where", "way"),
    [
        ("patch_embed.proj", "embedding", "forward"),
        ("image:dy", "embedding", "backward"),
        ("cls_token:grad", "embedding", "parameters"),
        ("blocks.11.attn.q", "block 11", "forward"),
        ("blocks.11:dy", "block 11", "backward"),
        ("norm", "head", "forward"),
        ("head.weight:grad", "head", "parameters"),
        ("loss", "head", "forward"),
    ],
)
def test_where_a_tap_belongs(tap: str, where: str, way: str) -> None:
    assert (rows.part(tap), rows.section(tap)) == (where, way)


def test_short_shows_the_worst_of_each_block() -> None:
    report = samples.honest()
    worse = [
        dataclasses.replace(tap, local=5.0) if tap.tap in ("blocks.0.norm2", "blocks.1.attn.q") else tap
        for tap in report.taps
    ]
    chosen = rows.short(dataclasses.replace(report, taps=tuple(worse)))
    assert [tap.tap for tap in chosen] == ["image", "blocks.0.norm2", "blocks.1.attn.q", "loss"]


def test_worst_is_a_share_of_what_is_allowed() -> None:
    strict = samples.verdict("embed", local=3.0, threshold=4.0)
    assert margin(strict) > margin(samples.verdict("logits", local=5.0))
    assert margin(samples.verdict("logits", local=math.nan)) == math.inf


def test_neighbours_are_of_the_same_pass() -> None:
    names = ("norm", "logits", "loss", "loss:dy", "logits:dy")
    taps = [samples.verdict(name, local=2.0 if name in ("norm", "logits:dy") else 0.8) for name in names]
    guilty = Guilty("loss", ("loss",), "forward", ("loss",), 50.0)
    report = dataclasses.replace(samples.honest(), taps=tuple(taps), guilty=(guilty,))
    assert [tap.tap for tap in rows.short(report)] == ["norm", "logits", "loss", "logits:dy"]


def test_notes() -> None:
    bug = samples.verdict("logits", "bug", format="bfloat16", token=(1,), span=("norm", "head"), why="why")
    assert rows.note(bug, "float32") == "why; between norm and head; worst at image 1; stored as bfloat16"
    assert rows.note(dataclasses.replace(bug, verdict="inherited"), "bfloat16") == "why"
    assert rows.note(samples.verdict("x", "bug", token=(0, 2, 7)), "float32") == "worst at (0, 2, 7)"


def test_rows_of_guilty_spans_are_folded() -> None:
    guilty = [
        Guilty(
            f"blocks.{n}.add2", (f"blocks.{n}.norm1", f"blocks.{n}.add2"), "both", (f"blocks.{n}",), 10.0 + n
        )
        for n in range(4)
    ]
    assert rows.guilty_rows(guilty) == [
        ("blocks.0-3.norm1 ... blocks.0-3.add2", "forward and backward", "13", "blocks.0-3")
    ]


def test_count() -> None:
    assert [count(amount, "tap") for amount in (0, 1, 1024)] == ["0 taps", "1 tap", "1,024 taps"]
