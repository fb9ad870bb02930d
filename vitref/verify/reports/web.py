"""One self-contained page of HTML: no script, no font, no picture from elsewhere; light and dark."""

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element

from vitref import __version__
from vitref.verify.reports import chart, rows
from vitref.verify.reports.causes import NONE_KNOWN, facts, look_for, unexplained
from vitref.verify.reports.heatmap import figure
from vitref.verify.reports.markup import Child, document, node
from vitref.verify.reports.style import STYLE
from vitref.verify.reports.summary import about, headline
from vitref.verify.reports.words import count, missing, times
from vitref.verify.verdicts import VERDICTS, Cause, Report, TapVerdict
from vitref.weights.files import StrPath, atomic_write

FEWEST = 3
"""Taps of a pass that are worth a chart."""


def save_page(report: Report, path: StrPath) -> None:
    """Write the page, whole or not at all. Raises CheckpointError when it cannot be written."""
    with atomic_write(path) as file:
        file.write(page(report).encode("utf-8"))


def page(report: Report) -> str:
    """The whole page as text."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("title", f"vitref compare: {report.outcome}"),
        node("style", STYLE),
    )
    body = node("body", *_body(report))
    return document(node("html", head, body, lang="en"))


def _body(report: Report) -> Iterator[Child]:
    outcome, _, rest = headline(report).partition(": ")
    yield node("h1", node("b", f"{outcome}:"), rest, class_="agree" if report.agrees else "differ")
    yield _facts([("precision", report.precision), *_judged(report)])
    yield from _causes(report)
    yield from _guilty(report)
    yield from _charts(report)
    yield from _pictures(report)
    yield from _worst(report)
    yield from _taps(report)
    yield from _rest(report)
    yield from _about(report)


def _judged(report: Report) -> Iterator[tuple[str, str]]:
    for name, meaning in VERDICTS.items():
        if amount := sum(tap.verdict == name for tap in report.taps):
            yield name, f"{amount:,} of {count(len(report.taps), 'tap')}: {meaning}"


def _facts(known: Iterable[tuple[str, str]]) -> Element:
    return node("dl", *(part for name, value in known for part in (node("dt", name), node("dd", value))))


def _causes(report: Report) -> Iterator[Child]:
    found = report.diagnosis
    if found is None:
        return
    yield node("h2", "Cause" if len(found.causes) < 2 else "Causes")
    yield from map(_cause, found.causes)
    if not found.causes and not report.agrees:
        yield node("p", NONE_KNOWN)
    yield from (node("p", sentence) for sentence in unexplained(found))
    if found.ranked:
        ranked = [(name, f"{times(left)} the noise") for name, left in found.ranked.items()]
        summary = f"The best single hypotheses of {found.tried:,} tried, in {found.seconds:.1f} s"
        yield node(
            "details", node("summary", summary), _table(("hypothesis", "difference left"), ranked, (1,))
        )


def _cause(cause: Cause) -> Element:
    return node(
        "div",
        node("h3", node("code", cause.mistake), node("span", cause.confidence, class_="badge")),
        node("p", f"{cause.what[:1].upper()}{cause.what[1:].rstrip('.')}."),
        _facts(facts(cause)),
        node("p", f"{look_for(cause).capitalize()}:", class_="soft") if cause.lines else None,
        node("pre", *map(_line, cause.lines.splitlines())) if cause.lines else None,
        class_="cause",
    )


def _line(line: str) -> Element:
    return node("span", line or " ", class_={"+": "plus", "-": "minus"}.get(line[:1]))


def _guilty(report: Report) -> Iterator[Child]:
    if report.guilty:
        yield node("h2", "Wrong steps")
        yield _table(rows.GUILTY_HEADINGS, rows.guilty_rows(report.guilty), (2,))


def _charts(report: Report) -> Iterator[Child]:
    shown = {name: taps for name, taps in rows.sections(report.taps).items() if len(taps) >= FEWEST}
    if not shown:
        return
    yield node("h2", "Error against rounding noise, along the depth")
    yield chart.legend([tap for taps in shown.values() for tap in taps])
    wrong = report.first.taps if report.first else ()
    for name, taps in shown.items():
        direction = " (the pass runs from right to left)" if name == "backward" else ""
        yield node("h3", f"{rows.SECTIONS[name]}{direction}")
        yield node("div", chart.chart(name, taps, wrong), class_="wide")


def _pictures(report: Report) -> Iterator[Child]:
    if report.pictures:
        yield node("h2", "What differs, as pictures")
        yield from map(figure, report.pictures)


def _worst(report: Report) -> Iterator[Child]:
    chosen = [tap for tap in report.taps if tap.verdict == "bug" and tap.worst][: rows.MOST_GUILTY]
    if chosen:
        yield node("h2", "Worst elements")
        yield node("p", "Error: in multiples of the tap's rounding noise per element.", class_="soft")
        yield _elements(chosen[0])
    if chosen[1:]:
        yield node("details", node("summary", "Those of other wrong taps"), *map(_elements, chosen[1:]))


def _elements(tap: TapVerdict) -> Element:
    entries = [
        (", ".join(map(str, e.index)), f"{e.candidate:.9g}", f"{e.reference:.9g}", times(e.error))
        for e in tap.worst
    ]
    shape = " × ".join(map(str, tap.shape))
    title = node("h3", node("code", tap.tap), node("span", shape, class_="badge"))
    table = _table(("index", "candidate", "reference", "error"), entries, (1, 2, 3))
    return node("div", title, table, class_="worst")


def _taps(report: Report) -> Iterator[Child]:
    chosen = rows.short(report)
    yield node("h2", "Taps")
    yield node("p", rows.LEGEND, class_="soft")
    yield from _sections(report, chosen)
    if len(chosen) < len(report.taps):
        everything = node("summary", f"All {len(report.taps):,} taps")
        yield node("details", everything, *_sections(report, report.taps))


def _sections(report: Report, taps: Iterable[TapVerdict]) -> Iterator[Element]:
    for name, members in rows.sections(taps).items():
        yield node("h3", rows.SECTIONS[name])
        yield _table(rows.HEADINGS, [rows.cells(tap, report.precision) for tap in members], (1, 2, 3, 4))


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]], numeric: Sequence[int]) -> Element:
    """Names in the first column; the columns of `numeric` aligned to the right."""
    top = [
        node("th", text, class_="number" if place in numeric else None) for place, text in enumerate(headings)
    ]
    body = [node("tr", *(_cell(place, text, numeric) for place, text in enumerate(line))) for line in lines]
    table = node("table", node("thead", node("tr", *top)), node("tbody", *body))
    return node("div", table, class_="wide")


def _cell(place: int, text: str, numeric: Sequence[int]) -> Element:
    if text in VERDICTS:
        return node("td", text, class_=f"verdict {text.replace(' ', '-')}")
    return node("td", text, class_="name" if place == 0 else "number" if place in numeric else None)


def _rest(report: Report) -> Iterator[Child]:
    undecided = report.diagnosis.undecided if report.diagnosis else ()
    if report.missing or undecided:
        yield node("h2", "What is not known")
    if report.missing:
        yield node("p", missing(report))
    if undecided:
        yield node(
            "p",
            "Cannot be told from rounding at this precision, with these taps: " + ", ".join(undecided) + ".",
        )


def _about(report: Report) -> Iterator[Child]:
    yield node("h2", "What was compared")
    yield _facts([*about(report), ("vitref", __version__)])
