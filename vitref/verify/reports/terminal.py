"""The report as text: the verdict, the wrong steps, their causes, and a table of taps.

Names are never wrapped or cut; long lines are left to the terminal.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from vitref.verify.reports import rows
from vitref.verify.reports.causes import NONE_KNOWN, facts, in_words, look_for, unexplained
from vitref.verify.reports.summary import about, headline
from vitref.verify.reports.words import listed, missing, times
from vitref.verify.verdicts import VERDICTS, Cause, Diagnosis, Report

STYLES = {"bug": "bold red", "inherited": "yellow", "systematic": "magenta", "lower precision": "cyan"}
"""Verdict -> style of its row."""

INDENT = "  "


def show(report: Report, console: Console, *, everything: bool = False, top: int = 5) -> None:
    """Print the report. `everything`: all taps; `top`: how many single hypotheses to list."""
    for line in text(report, everything=everything, top=top):
        console.print(line, soft_wrap=True)


def text(report: Report, *, everything: bool = False, top: int = 5) -> Iterator[Text]:
    """The report, line by line."""
    yield Text(headline(report), style="green" if report.agrees else "bold red")
    yield from _facts(report)
    yield from _guilty(report)
    yield from _diagnosis(report, top)
    yield from _taps(report, everything)
    yield from _rest(report)


def _facts(report: Report) -> Iterator[Text]:
    numbers = [(name, sum(tap.verdict == name for tap in report.taps)) for name in VERDICTS]
    verdicts = ", ".join(f"{amount:,} {name}" for name, amount in numbers if amount)
    yield Text()
    compared = ("taps", f"{len(report.taps):,}: {verdicts}")
    yield from columns([("precision", report.precision), compared, *about(report)])


def _guilty(report: Report) -> Iterator[Text]:
    if report.guilty:
        yield Text()
        yield from columns(
            [rows.GUILTY_HEADINGS, *rows.guilty_rows(report.guilty)], right={2}, styles=["bold"]
        )


def _diagnosis(report: Report, top: int) -> Iterator[Text]:
    found = report.diagnosis
    if found is None:
        if not report.agrees:
            yield from (Text(), Text("vitref diagnose looks for the cause among the known mistakes."))
        return
    for cause in found.causes:
        yield Text()
        yield Text(in_words(cause), style="bold")
        yield from columns(list(facts(cause)), INDENT)
        if cause.lines:
            yield from _lines(cause)
    if not found.causes and not report.agrees:
        yield from (Text(), Text(NONE_KNOWN, style="bold"))
    yield from map(Text, unexplained(found))
    yield from _tried(found, top)


def _lines(cause: Cause) -> Iterator[Text]:
    yield Text(f"{INDENT}{look_for(cause)}")
    styles = {"-": "green", "+": "red"}
    for line in cause.lines.splitlines():
        yield Text(f"{INDENT * 2}{line}", style=styles.get(line[:1], ""))


def _tried(found: Diagnosis, top: int) -> Iterator[Text]:
    yield Text()
    yield Text(f"hypotheses tried: {found.tried:,}, in {found.seconds:.1f} s")
    ranked = list(found.ranked.items())[:top]
    if ranked:
        yield from columns(
            [
                ("best alone", "difference left"),
                *((name, f"{times(left)} the noise") for name, left in ranked),
            ]
        )


def _taps(report: Report, everything: bool) -> Iterator[Text]:
    chosen = report.taps if everything else rows.short(report)
    for name, taps in rows.sections(chosen).items():
        table = [(*rows.HEADINGS,), *(rows.cells(tap, report.precision) for tap in taps)]
        yield from (Text(), Text(rows.SECTIONS[name], style="bold"))
        yield from columns(
            table, right={1, 2, 3, 4}, styles=["dim", *(STYLES.get(t.verdict, "") for t in taps)]
        )
    yield Text()
    yield from map(Text, rows.LEGEND.splitlines())
    if len(chosen) < len(report.taps):
        yield Text(f"{len(report.taps) - len(chosen):,} more taps are not shown; --all shows them.")


def _rest(report: Report) -> Iterator[Text]:
    """What could not be judged."""
    if report.missing:
        yield from (Text(), Text(missing(report)))
    if report.diagnosis and report.diagnosis.undecided:
        names = listed(report.diagnosis.undecided, 20)
        yield Text()
        yield Text(f"Cannot be told from rounding at this precision, with these taps: {names}.")


def columns(
    table: Sequence[Sequence[str]],
    indent: str = "",
    right: set[int] | None = None,
    styles: Sequence[str] = (),
) -> Iterator[Text]:
    """The rows in columns as wide as their widest cell; `right`: those aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligned = right or set()
    for place, row in enumerate(table):
        cells = (
            cell.rjust(width) if column in aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield Text(f"{indent}{'  '.join(cells)}".rstrip(), style=styles[place] if place < len(styles) else "")
