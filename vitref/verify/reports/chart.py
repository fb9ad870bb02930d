"""Error against noise along the depth of the model, as SVG: one chart per pass, on a logarithmic scale."""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element

from vitref.verify.reports import rows
from vitref.verify.reports.markup import node
from vitref.verify.reports.words import number
from vitref.verify.verdicts import TapVerdict

WIDTH, HEIGHT = 1040, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 30, 34
LOWEST = -2.0
"""log10 of the ratio at the lower edge; what is smaller, and what is exact, lies on it."""

HIGHEST = 18.0

MARKS = {
    "exact": "M-2.5 0H2.5",
    "rounding": "M0-2.6A2.6 2.6 0 1 1 0 2.6A2.6 2.6 0 1 1 0-2.6Z",
    "lower precision": "M-3-3H3V3H-3Z",
    "systematic": "M0-4.5L4 3H-4Z",
    "inherited": "M0-3.6L3.6 0L0 3.6L-3.6 0Z",
    "bug": "M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5",
}
"""Verdict -> path of its mark around (0, 0). The shapes differ, not the colours alone."""


def chart(name: str, taps: Sequence[TapVerdict], wrong: Collection[str] = ()) -> Element:
    """The taps of one pass, from the image (left) to the output (right); the first of `wrong` is named."""
    across = list(taps) if rows.depth(taps[0].tap) <= rows.depth(taps[-1].tap) else list(reversed(taps))
    named = next((tap.tap for tap in taps if tap.tap in wrong), "")
    top = _top(across)
    step = (WIDTH - LEFT - RIGHT) / max(len(across), 1)
    size = 1.0 if step > 5 else 0.7
    places = [LEFT + step * (index + 0.5) for index in range(len(across))]
    return node(
        "svg",
        node("title", f"{rows.SECTIONS[name]}: error as a multiple of the rounding noise, along the depth"),
        _band(top),
        *_axis(top),
        *_parts(across, step),
        _line("allowed", across, step, [tap.threshold for tap in across], top),
        _line("end-to-end", across, step, [tap.end_to_end for tap in across], top),
        *(_mark(tap, x, height(tap.local, top), size) for tap, x in zip(across, places, strict=True)),
        _name_of(named, across, places, top),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )


def _top(taps: Sequence[TapVerdict]) -> float:
    """log10 of the ratio at the upper edge."""
    values = [value for tap in taps for value in (tap.local, tap.end_to_end, tap.threshold)]
    largest = max((value for value in values if math.isfinite(value)), default=1.0)
    needed = math.log10(largest) + 0.4 if largest > 0 else 0.0
    return HIGHEST if any(map(math.isinf, values)) else min(max(math.ceil(needed), 2.0), HIGHEST)


def height(ratio: float, top: float) -> float:
    """The y coordinate of a ratio; what does not fit lies on the edge."""
    power = math.log10(ratio) if ratio > 0 else LOWEST
    share = (min(max(power, LOWEST), top) - LOWEST) / (top - LOWEST)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _band(top: float) -> Element:
    """Where rounding noise lies: up to once its measured size."""
    upper = height(1.0, top)
    rest = HEIGHT - BOTTOM - upper
    return node("rect", x=LEFT, y=_r(upper), width=WIDTH - LEFT - RIGHT, height=_r(rest), class_="noise")


def _axis(top: float) -> Iterator[Element]:
    stride = max(1, math.ceil((top - LOWEST) / 8))
    for power in range(0, int(top) + 1, stride):
        y = _r(height(10.0**power, top))
        yield node("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        label = ("10", node("tspan", str(power), dy=-5, class_="power")) if power > 3 else (f"{10**power:,}",)
        yield node("text", *label, x=LEFT - 8, y=y + 4, text_anchor="end")
    yield node("text", "error / noise", x=4, y=TOP - 14, class_="title")
    yield node("text", "exact", x=LEFT - 8, y=HEIGHT - BOTTOM + 4, text_anchor="end")


def _parts(taps: Sequence[TapVerdict], step: float) -> Iterator[Element]:
    """A line and a name where a part of the model (embedding, block, head) begins."""
    x = float(LEFT)
    for name, members in groupby(taps, key=lambda tap: rows.part(tap.tap)):
        width = step * len(list(members))
        if x > LEFT:
            yield node("line", x1=_r(x), x2=_r(x), y1=TOP, y2=HEIGHT - BOTTOM, class_="part")
        label = name if width > 6.2 * len(name) else name.removeprefix("block ")
        if width > 6.2 * len(label):
            middle = _r(x + width / 2)
            yield node("text", label, x=middle, y=HEIGHT - BOTTOM + 18, text_anchor="middle")
        x += width


def _line(kind: str, taps: Sequence[TapVerdict], step: float, values: list[float], top: float) -> Element:
    """A stair for what is allowed, else a line through the taps."""
    points: list[str] = []
    for index, value in enumerate(values):
        y = _r(height(value, top))
        left = LEFT + step * index
        across = (left, left + step) if kind == "allowed" else (left + step / 2,)
        points.extend(f"{_r(x)},{y}" for x in across)
    return node("polyline", points=" ".join(points), class_=kind)


def _mark(tap: TapVerdict, x: float, y: float, size: float) -> Element:
    said = f"{tap.tap}: {tap.verdict}, {number(tap.local)} times the noise here, "
    said += f"{number(tap.end_to_end)} end to end; {number(tap.threshold)} allowed"
    scale = f" scale({size})" if tap.verdict != "bug" else ""
    place = f"translate({_r(x)} {_r(y)}){scale}"
    return node(
        "path", node("title", said), d=MARKS[tap.verdict], transform=place, class_=_class(tap.verdict)
    )


def _class(verdict: str) -> str:
    return f"mark {verdict.replace(' ', '-')}"


def _name_of(first: str, taps: Sequence[TapVerdict], places: list[float], top: float) -> Element | None:
    for tap, x in zip(taps, places, strict=True):
        if tap.tap == first:
            left = x > WIDTH * 0.6
            y = max(height(tap.local, top) - 9, TOP - 4)
            return node(
                "text", first, x=_r(x), y=_r(y), text_anchor="end" if left else "start", class_="first"
            )
    return None


def legend(taps: Sequence[TapVerdict]) -> Element:
    """The marks that occur, and the lines."""
    seen = {tap.verdict for tap in taps}
    entries = [
        _entry(node("path", d=path, transform="translate(10 8)", class_=_class(verdict)), verdict)
        for verdict, path in MARKS.items()
        if verdict in seen
    ]
    lines = {"allowed": "what is allowed", "end-to-end": "end to end, from the image alone"}
    for kind, text in lines.items():
        entries.append(_entry(node("polyline", points="1,8 19,8", class_=kind), text))
    entries.append(_entry(node("rect", x=1, y=2, width=18, height=12, class_="noise"), "rounding noise"))
    return node("p", *entries, class_="legend")


def _entry(mark: Element, text: str) -> Element:
    return node("span", node("svg", mark, viewBox="0 0 20 16", class_="key"), text)


def _r(value: float) -> float:
    return round(value, 1)
