"""The page: one file of sound HTML that needs nothing else, with every mark where its number is."""

import dataclasses
import html
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.verify.reports import samples
from vitref.errors import CheckpointError
from vitref.verify.reports import chart, page, save_page
from vitref.verify.reports.heatmap import DIVERGING, NOT_FINITE, SEQUENTIAL, coloured, figure
from vitref.verify.verdicts import VERDICTS, Picture, Report

VOID = {"meta", "img"}

REPORTS = {
    "named": samples.wrong_softmax(),
    "honest": samples.honest(),
    "exact": samples.honest("exact"),
    "lower": samples.lower_precision(),
    "systematic": samples.systematic(),
    "unnamed": samples.only_logits(),
    "pair": samples.only_logits(samples.SOFTMAX, samples.EPS),
}


class Reader(HTMLParser):
    """Notes tags, attributes and text; fails where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_sound_and_self_contained(report: Report) -> None:
    text = page(report)
    assert text.startswith("<!DOCTYPE html>")
    read = Reader(text)
    tags = {tag for tag, _ in read.found}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    addresses = [
        value for _, attributes in read.found for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(address and address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r"base64,[\w+/=]*", "", text))
    assert "prefers-color-scheme: dark" in text


def test_what_a_porter_acts_on() -> None:
    text = Reader(page(samples.wrong_softmax())).text
    for part in (
        "the first wrong step is blocks.0.attn.softmax (forward), 340,000 times",
        "softmax_over_queriescertain",
        "softmax_of_transposed_scores",
        "huggingface/candle#3613",
        "xp.max(x, axis=-2)",
        "340,000 / 8",
        "blocks.0.attn.softmax, image 0, head 1 (17 × 17)",
        "0.333333333",
        "eps_outside_root",
        "blocks.0-1.drop_path1",
        "port[1].safetensors",
    ):
        assert part in text


def test_every_tap_has_a_row_and_a_mark() -> None:
    report = samples.wrong_softmax()
    text = page(report)
    read = Reader(text)
    marks = [
        attributes["class"] for tag, attributes in read.found if tag == "path" and "key" not in attributes
    ]
    for verdict in VERDICTS:
        expected = sum(tap.verdict == verdict for tap in report.taps)
        assert marks.count(f"mark {verdict.replace(' ', '-')}") == expected + bool(expected)
    assert all(f">{html.escape(tap.tap)}</td>" in text for tap in report.taps)


def test_text_is_escaped() -> None:
    hostile = "<script>alert('&')</script>"
    cause = dataclasses.replace(samples.SOFTMAX, mistake=hostile, lines=f"+{hostile}\x1b[31m", what=hostile)
    report = dataclasses.replace(
        samples.only_logits(cause),
        about={hostile: hostile},
        pictures=(Picture(hostile, np.eye(2), np.ones((2, 2))),),
    )
    text = page(report)
    assert "<script" not in text
    assert "\x1b" not in text
    assert Reader(text).text.count(hostile) >= 5


def test_heights_are_logarithmic_and_kept_inside() -> None:
    top = 4.0
    heights = [chart.height(10.0**power, top) for power in (-2, -1, 0, 1, 2, 3, 4)]
    assert np.allclose(np.diff(heights), heights[1] - heights[0])
    assert heights[0] > heights[-1]
    assert chart.height(0.0, top) == chart.height(1e-9, top) == heights[0]
    assert chart.height(math.inf, top) == chart.height(1e9, top) == heights[-1]


def test_ratios_without_bound_can_be_drawn() -> None:
    taps = [samples.verdict("embed"), samples.verdict("logits", "bug", math.inf, math.nan)]
    text = ElementTree.tostring(chart.chart("forward", taps, ["logits"]), encoding="unicode")
    assert "nan" not in text
    assert "inf" not in text
    assert ">logits</text>" in text


def test_backward_taps_stand_at_their_depth() -> None:
    """The pass gives them from the output to the image; the image is on the left of the chart."""
    taps = [samples.verdict(f"blocks.{block}.add2:dy") for block in reversed(range(3))]
    drawn = chart.chart("backward", taps)
    labels = [text.text for text in drawn.iter("text") if (text.text or "").startswith("block")]
    assert labels == ["block 0", "block 1", "block 2"]
    titles = [(mark[0].text or "").split(":")[0] for mark in drawn.findall("path")]
    assert titles == ["blocks.0.add2", "blocks.1.add2", "blocks.2.add2"]


def test_colours() -> None:
    values = np.array([[0.0, 1.0], [0.5, np.nan]])
    pixels = coloured(values, 0.0, 1.0, SEQUENTIAL)
    assert bytes(pixels[0, 0]).hex() == SEQUENTIAL[0]
    assert bytes(pixels[0, 1]).hex() == SEQUENTIAL[-1]
    assert tuple(pixels[1, 1]) == NOT_FINITE
    assert bytes(coloured(np.zeros((1, 1)), -1.0, 1.0, DIVERGING)[0, 0]).hex() == DIVERGING[2]


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
def test_a_picture_without_range(fill: float) -> None:
    assert len(list(figure(Picture("flat", np.full((2, 3), fill), np.full((2, 3), fill))).iter("img"))) == 6


def test_save(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    save_page(samples.honest(), path)
    assert path.read_text(encoding="utf-8") == page(samples.honest())
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_page(samples.honest(), tmp_path / "missing" / "report.html")
