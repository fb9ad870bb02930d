"""The report as text: what a porter acts on stands there, names whole and as they are."""

import dataclasses
import io

from rich.console import Console

from tests.verify.reports import samples
from vitref.verify.reports import show
from vitref.verify.verdicts import Report


def printed(report: Report, *, everything: bool = False, top: int = 5, width: int = 40) -> str:
    """On a terminal that is narrower than any line."""
    out = io.StringIO()
    show(report, Console(file=out, width=width, highlight=False), everything=everything, top=top)
    return out.getvalue()


def test_a_named_bug() -> None:
    said = printed(samples.wrong_softmax())
    lines = said.splitlines()
    assert lines[0].startswith(
        "differ: the first wrong step is blocks.0.attn.softmax (forward), 340,000 times"
    )
    assert "  cannot be told from  softmax_of_transposed_scores" in lines
    assert "  difference left      0.94 times the noise; 340,000 times before the mistake is put in" in lines
    assert "  reported in          huggingface/candle#3613, paiml/aprender#2196" in lines
    assert "    -    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))" in lines
    assert "sum to one: then it is not the cause." in said
    assert "The candidate says nothing about 2 steps: blocks.0-1.drop_path1." in lines
    assert "Cannot be told from rounding at this precision, with these taps: eps_outside_root." in lines
    assert "candidate  port[1].safetensors" in lines
    assert [line.split() for line in lines if line.startswith("blocks.0-2.attn.softmax  ")] == [
        ["blocks.0-2.attn.softmax", "forward", "340,000", "blocks.0-2.attn.softmax"]
    ]


def test_the_row_of_a_wrong_tap() -> None:
    row = next(
        line
        for line in printed(samples.wrong_softmax()).splitlines()
        if line.startswith("blocks.0.attn.softmax  ")
    )
    assert " ".join(row.split()) == (
        "blocks.0.attn.softmax 6.8e-02 2.0e-07 340,000 / 8 340,000 / 16 bug worst at image 0, token 5"
    )


def test_short_table_has_the_wrong_taps_their_neighbours_and_every_block() -> None:
    report = samples.wrong_softmax()
    said = printed(report)
    rows = [line.split()[0] for line in said.splitlines() if line.startswith(("blocks.", "patch_", "norm"))]
    first = rows.index("blocks.0.attn.scores")
    assert rows[first : first + 3] == [f"blocks.0.attn.{name}" for name in ("scores", "softmax", "context")]
    for block in range(3):
        for ending in ("", ":dy", ":grad"):
            assert any(name.startswith(f"blocks.{block}.") and name.endswith(ending) for name in rows)
    assert "more taps are not shown; --all shows them." in said


def test_everything_lists_every_tap() -> None:
    report = samples.wrong_softmax()
    said = printed(report, everything=True)
    starts = [line.split()[0] for line in said.splitlines() if line]
    assert all(tap.tap in starts for tap in report.taps)
    assert "not shown" not in said


def test_ranking_is_as_long_as_asked() -> None:
    assert "causal_mask" in printed(samples.only_logits(), top=2)
    assert "scale_missing" not in printed(samples.only_logits(), top=2)
    assert "best alone" not in printed(samples.only_logits(), top=0)


def test_none_of_the_known_causes() -> None:
    assert "\nNone of the known causes explains it.\n" in printed(samples.only_logits())


def test_without_diagnosis_it_says_how_to_get_one() -> None:
    hint = "vitref diagnose looks for the cause among the known mistakes."
    assert hint in printed(samples.wrong_softmax(diagnosis=False))
    assert hint not in printed(samples.honest())


def test_estimated_value_and_share() -> None:
    said = printed(samples.systematic())
    assert "  estimated value  1e-05" in said
    assert "  how much of it   0.998 (1 is all of it)" in said
    assert "  where            the whole model" in said


def test_what_was_compared() -> None:
    about = {
        "candidate": "port.npz",
        "remarks": ["one, two", "three"],
        "seconds": 108.234,
        "images": 1,
        "none": [],
    }
    lines = printed(dataclasses.replace(samples.honest(), about=about)).splitlines()
    assert lines[4:8] == [
        "candidate  port.npz",
        "remarks    one, two; three",
        "seconds    108.2",
        "images     1",
    ]
    assert not any(line.startswith("none") for line in lines)


def test_markup_is_printed_as_it_is() -> None:
    cause = dataclasses.replace(samples.SOFTMAX, mistake="[bold]x[/bold]", lines="[red]", what="[/]")
    said = printed(dataclasses.replace(samples.only_logits(cause), about={"candidate": "[link=x]y"}))
    for text in ("[bold]x[/bold]: [/] (certain)", "    [red]", "candidate  [link=x]y"):
        assert text in said


def test_plain_text_when_it_is_no_terminal() -> None:
    assert "\x1b" not in printed(samples.wrong_softmax())
