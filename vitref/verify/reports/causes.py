"""A cause in words: its sentence, and what is known of it."""

from collections.abc import Iterator

from vitref.verify.reports.words import folded, listed, times
from vitref.verify.verdicts import Cause, Diagnosis, Report

NONE_KNOWN = "None of the known causes explains it."


def sentences(report: Report) -> Iterator[str]:
    """What the diagnosis adds to the verdict; nothing where there is none, or nothing to be explained."""
    found = report.diagnosis
    if found is None:
        return
    if found.causes:
        named = ", together with ".join(map(in_words, found.causes))
        yield f"It is {named}." if _of_the_first(report, found) else f"{NONE_KNOWN} Later steps have {named}."
    elif not report.agrees:
        yield NONE_KNOWN
    yield from unexplained(found)


def _of_the_first(report: Report, found: Diagnosis) -> bool:
    """Whether the causes explain the first wrong step, of which the verdict speaks."""
    return report.first is None or report.first.step not in found.unexplained


def in_words(cause: Cause) -> str:
    """ "softmax_over_queries: the scores are normalised over the queries (certain)"."""
    return f"{cause.mistake}: {cause.what.rstrip('.')} ({cause.confidence})"


def unexplained(found: Diagnosis) -> Iterator[str]:
    """The sentence on guilty steps that the causes found leave unexplained."""
    if found.causes and found.unexplained:
        yield f"No known cause explains {listed(folded(found.unexplained), 6)}."


def facts(cause: Cause) -> Iterator[tuple[str, str]]:
    """What is known of a cause, each with its heading."""
    yield "where", listed(folded(cause.places)) or "the whole model"
    yield (
        "difference left",
        f"{times(cause.residual)} the noise; {times(cause.before)} before the mistake is put in",
    )
    if cause.value is not None:
        yield "estimated value", f"{cause.value:.4g}"
    if cause.share is not None:
        yield "how much of it", f"{cause.share:.3f} (1 is all of it)"
    if cause.neighbours:
        yield "cannot be told from", ", ".join(cause.neighbours)
    if cause.evidence:
        yield "reported in", ", ".join(cause.evidence)
    if cause.refute:
        yield "to refute it", cause.refute


def look_for(cause: Cause) -> str:
    """The heading of its lines."""
    changed = any(line[:1] in ("-", "+") for line in cause.lines.splitlines())
    return f"look for{' (- as it is right, + as the mistake has it)' if changed else ''}"
