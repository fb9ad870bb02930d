"""Damaged pictures of every format: decoded, or refused with an ImageError; nothing else comes out.

`pytest --hypothesis-profile=long tests/images/test_fuzz.py` runs 20 times as many.
"""

import contextlib
import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vitref.errors import ImageError
from vitref.images.decode import FORMATS, from_file

SAVED: dict[str, list[dict[str, Any]]] = {
    "BMP": [{}],
    "GIF": [{}],
    "JPEG": [{}, {"progressive": True}],
    "PNG": [{}],
    "PPM": [{}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}],
    "WEBP": [{"lossless": True}, {}],
}
MODES = {"JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB",), "PNG": ("1", "L", "P", "RGB", "RGBA", "I;16")}
OTHER_MODES = ("1", "L", "RGB")
KINDS = [
    (kind, mode, i)
    for kind in FORMATS
    for mode in MODES.get(kind, OTHER_MODES)
    for i, given in enumerate(SAVED[kind])
    if not (given.get("compression") == "jpeg" and mode == "1")
]


@cache
def whole(kind: str, mode: str, way: int) -> bytes:
    """A picture with an orientation, saved in one of the ways of its format."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    shades = np.random.default_rng(3).integers(0, 256, (13, 11, 3), dtype=np.uint8)
    image = Image.fromarray(shades).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    given = {} if kind in ("BMP", "GIF", "PPM") else {"exif": exif}
    image.save(data, kind, **given, **SAVED[kind][way])
    return data.getvalue()


@pytest.mark.parametrize(("kind", "mode", "way"), KINDS)
def test_undamaged_pictures_are_read(kind: str, mode: str, way: int, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(whole(kind, mode, way))
    assert from_file(tmp_path / "whole", 3).size in ((11, 13), (13, 11))


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut", "double"]),
        st.integers(0, 2**12),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=8,
)


def edited(data: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    """Each edit (what, where, value) applied in turn; places wrap around."""
    for what, place, value in edits:
        at = place % max(len(data), 1)
        if what == "cut":
            data = data[:at]
        elif what == "double":
            data = data[: at + value] + data[at:]
        else:
            middle = {"set": bytes([value]), "insert": bytes([value]) + data[at : at + 1], "delete": b""}[
                what
            ]
            data = data[:at] + middle + data[at + 1 :]
    return data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), edits=EDITS, channels=st.sampled_from([1, 3]))
def test_damaged_pictures_raise_nothing_else(
    kind: tuple[str, str, int], edits: list[tuple[str, int, int]], channels: int, tmp_path: Path
) -> None:
    (tmp_path / "damaged").write_bytes(edited(whole(*kind), edits))
    with warnings.catch_warnings(), contextlib.suppress(ImageError):
        warnings.simplefilter("error")
        image = from_file(tmp_path / "damaged", channels)
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert image.getpixel((image.width - 1, image.height - 1)) is not None
