"""The table of taps: which rows it has when it is short, and what stands in each."""

import math
import re
from collections.abc import Iterable

from vitref.verify.reports.words import PASSES, folded, listed, margin, number, pattern
from vitref.verify.verdicts import Guilty, Report, TapVerdict

HEADINGS = ("tap", "error", "noise", "local / allowed", "end to end / allowed", "verdict", "")
NUMERIC = HEADINGS[1:5]

LEGEND = """\
error, noise: of the tap from the candidate's own inputs, and the rounding noise of that, relative to the
reference. local: error / noise. end to end: the same with everything computed from the image alone."""

SECTIONS = {"forward": "Forward", "backward": "Backward", "parameters": "Gradients of parameters"}
"""Pass of a tap -> its heading."""

STEM = ("image", "patch_embed", "cls_token", "pos_embed", "pos_drop", "embed")
MOST_GUILTY = 8
"""Guilty steps that are shown with their neighbours in the short table."""

BLOCK = re.compile(r"blocks\.(\d+)")


def section(tap: str) -> str:
    """Of `SECTIONS`."""
    return {"dy": "backward", "grad": "parameters"}.get(tap.rpartition(":")[2], "forward")


def part(tap: str) -> str:
    """Where in the model: "embedding", "block 3", or "head"."""
    if found := BLOCK.match(tap):
        return f"block {found[1]}"
    return "embedding" if re.split(r"[.:]", tap)[0] in STEM else "head"


def depth(tap: str) -> float:
    """-1 for the embedding, the number of a block, infinity for the head."""
    if found := BLOCK.match(tap):
        return float(found[1])
    return -1.0 if part(tap) == "embedding" else math.inf


def sections(taps: Iterable[TapVerdict]) -> dict[str, list[TapVerdict]]:
    """The taps of each pass, in their order; a pass without taps is left out."""
    found: dict[str, list[TapVerdict]] = {name: [] for name in SECTIONS}
    for tap in taps:
        found[section(tap.tap)].append(tap)
    return {name: members for name, members in found.items() if members}


def short(report: Report) -> list[TapVerdict]:
    """Taps of guilty steps, those beside them, and the worst of every block and pass.

    Of guilty steps that differ in the number of the block alone the first one is enough.
    """
    order = {tap.tap: place for place, tap in enumerate(report.taps)}
    guilty = [members[0] for members in _alike(report.guilty)][:MOST_GUILTY]
    kept = {order[name] for one in guilty for name in one.taps if name in order}
    beside = {near for place in kept for near in (place - 1, place + 1) if _together(report, place, near)}
    return [report.taps[place] for place in sorted(kept | beside | _worst_of_parts(report))]


def _together(report: Report, place: int, near: int) -> bool:
    if not 0 <= near < len(report.taps):
        return False
    return section(report.taps[place].tap) == section(report.taps[near].tap)


def _worst_of_parts(report: Report) -> set[int]:
    worst: dict[tuple[str, str], int] = {}
    for place, tap in enumerate(report.taps):
        where = section(tap.tap), part(tap.tap)
        if where not in worst or margin(tap) > margin(report.taps[worst[where]]):
            worst[where] = place
    return set(worst.values())


def cells(tap: TapVerdict, precision: str) -> tuple[str, ...]:
    """One row, in the order of `HEADINGS`; `precision` is that of the candidate."""
    return (
        tap.tap,
        relative(tap.error),
        relative(tap.noise),
        f"{number(tap.local)} / {number(tap.threshold)}",
        f"{number(tap.end_to_end)} / {number(tap.threshold_end_to_end)}",
        tap.verdict,
        note(tap, precision),
    )


def relative(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if math.isfinite(value) else "unbounded"


def note(tap: TapVerdict, precision: str) -> str:
    """What the numbers do not say: why, between which steps, at which token, in which format."""
    said = [tap.why] if tap.why else []
    if tap.verdict == "bug" and len(tap.span) > 1:
        said.append(f"between {tap.span[0]} and {tap.span[-1]}")
    if tap.verdict == "bug" and tap.token is not None:
        said.append("worst at " + ", ".join(_token(tap.token)))
    if tap.format != precision:
        said.append(f"stored as {tap.format}")
    return "; ".join(said)


def _token(token: tuple[int, ...]) -> list[str]:
    names = ("image", "token") if len(token) == 2 else ("image",) if len(token) == 1 else ()
    return [f"{name} {index}" for name, index in zip(names, token, strict=True)] if names else [str(token)]


GUILTY_HEADINGS = ("wrong step", "pass", "error / noise", "taps")


def guilty_rows(guilty: Iterable[Guilty]) -> list[tuple[str, ...]]:
    """Step or span, pass, ratio and taps; steps that differ in the number of the block alone share a row."""
    return [_guilty_row(members) for members in _alike(guilty)]


def _alike(guilty: Iterable[Guilty]) -> list[list[Guilty]]:
    groups: dict[tuple[str, str], list[Guilty]] = {}
    for one in guilty:
        groups.setdefault((pattern(_extent(one)), one.passes), []).append(one)
    return list(groups.values())


def _guilty_row(members: list[Guilty]) -> tuple[str, ...]:
    taps = listed(folded(tap for one in members for tap in one.taps), 4)
    extent = listed(folded(map(_extent, members)))
    return extent, PASSES[members[0].passes], number(max(one.ratio for one in members)), taps


def _extent(guilty: Guilty) -> str:
    return guilty.step if len(guilty.span) < 2 else f"{guilty.span[0]} ... {guilty.span[-1]}"
