"""Two arrays and their difference as pictures: PNG inside the page, with the range of their colours."""

import base64
import io
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from vitref.array import HostArray
from vitref.verify.reports.markup import node
from vitref.verify.verdicts import Picture

SEQUENTIAL = ("0b1026", "22356f", "2d6a8f", "2c9c8a", "7cc66a", "f7e855")
"""From the smallest value to the largest, in steps of lightness that are alike."""

DIVERGING = ("1f4e9c", "7ba6d6", "f4f4f2", "e0967a", "a8201a")
"""From negative to positive; zero is the middle."""

NOT_FINITE = (128, 128, 128)


def figure(picture: Picture) -> Element:
    """Candidate and reference in the same colours, and candidate - reference."""
    values = np.stack([np.asarray(a, np.float64) for a in (picture.candidate, picture.reference)])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    with np.errstate(invalid="ignore"):
        difference = values[0] - values[1]
    known = np.abs(difference[np.isfinite(difference)])
    most = float(known.max()) if known.size else 0.0
    return node(
        "figure",
        node("figcaption", f"{picture.title} ({' × '.join(map(str, picture.candidate.shape))})"),
        node(
            "div",
            _panel("candidate", values[0], low, high, SEQUENTIAL),
            _panel("reference", values[1], low, high, SEQUENTIAL),
            _panel("candidate − reference", difference, -most, most, DIVERGING),
            class_="panels",
        ),
    )


def _panel(title: str, values: HostArray, low: float, high: float, colours: tuple[str, ...]) -> Element:
    bar = np.linspace(low, high, 128)[None, :]
    return node(
        "div",
        node("div", title, class_="panel-title"),
        node("img", src=_source(values, low, high, colours), alt=title, class_="heat"),
        node(
            "div",
            node("span", f"{low:.3g}"),
            node("img", src=_source(bar, low, high, colours), alt="", class_="bar"),
            node("span", f"{high:.3g}"),
            class_="scale",
        ),
        class_="panel",
    )


def _source(values: HostArray, low: float, high: float, colours: tuple[str, ...]) -> str:
    """A data: address of the PNG, so that the page needs no other file."""
    content = io.BytesIO()
    Image.fromarray(coloured(values, low, high, colours)).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def coloured(values: HostArray, low: float, high: float, colours: tuple[str, ...]) -> HostArray:
    """(rows, columns) -> uint8 (rows, columns, 3): `low` is the first colour, `high` the last."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in colours], np.float64)
    known = np.isfinite(values)
    share = np.where(known, values - low, 0.0) / (high - low) if high > low else np.full(values.shape, 0.5)
    place = np.clip(share, 0.0, 1.0) * (len(anchors) - 1)
    channels = [np.interp(place, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    pixels = np.stack(channels, axis=-1).round().astype(np.uint8)
    pixels[~known] = NOT_FINITE
    return pixels
