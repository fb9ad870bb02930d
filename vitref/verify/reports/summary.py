"""The whole verdict in one or two sentences, and what was compared."""

import json
from collections.abc import Iterator
from typing import Any

from vitref.verify.reports.causes import sentences
from vitref.verify.reports.words import count, margin, noise_of, number, place, times
from vitref.verify.verdicts import Report


def headline(report: Report) -> str:
    """The whole verdict as one or two sentences that can be acted on."""
    found = _difference(report) if not report.agrees else _agreement(report)
    return " ".join([f"{report.outcome}: {found}.", *sentences(report)])


def _difference(report: Report) -> str:
    if report.first is None:
        return _below_noise(report)
    ratio = f"{times(report.first.ratio)} {noise_of(report)}"
    return f"the first wrong step is {place(report.first)}, {ratio}"


def _below_noise(report: Report) -> str:
    """Differences of which none is too large, but which are not at random."""
    systematic = next((tap.tap for tap in report.taps if tap.verdict == "systematic"), None)
    if systematic is None:
        return "no single step can be shown to be wrong"
    return f"every tap is within {noise_of(report)}, yet not by chance; {systematic} is the first of them"


def _agreement(report: Report) -> str:
    lower = [tap for tap in report.taps if tap.verdict == "lower precision"]
    if lower:
        rest = f"{len(lower)} of {count(len(report.taps), 'tap')} only in a lower precision"
        why = f", {lower[0].why}" if lower[0].why else ""
        return f"rounding explains every difference, in {rest} (first {lower[0].tap}{why})"
    if all(tap.verdict == "exact" for tap in report.taps):
        return f"{count(len(report.taps), 'tap')} compared, all exact in {report.precision}"
    worst = max(report.taps, key=margin)
    compared = f"{count(len(report.taps), 'tap')} compared, all within {noise_of(report)}"
    allowed = f"{times(worst.local)} the noise where {number(worst.threshold)} are allowed"
    return f"{compared}; nearest to the limit is {worst.tap}, {allowed}"


def about(report: Report) -> Iterator[tuple[str, str]]:
    """What was compared, each with its name; what is empty is left out."""
    for name, value in report.about.items():
        if value is not None and value != [] and value != () and value != {}:
            yield str(name), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_text, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
