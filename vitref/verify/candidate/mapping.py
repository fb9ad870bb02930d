"""An explicit map from the candidate's names to taps, with changes of layout; from a JSON file or a mapping.

    {"their name": "blocks.0.norm1",
     "enc.{L}.q": {"tap": "blocks.{L}.attn.q", "reshape": ["N", "T", "heads", "d"],
                   "transpose": [0, 2, 1, 3]},
     "model.*": "*",
     "debug.*": null}

A name with `*` (any text) or {L} (a whole number) stands for many, and the tap repeats what they stood for;
{L-1} and {L+1} count from another first block. A full name goes before one with placeholders, and of these
the first that fits is taken. null leaves a tensor out. In the place of a tap, an entry with placeholders may
give a name that a known library has, so that "model.*": "*" strips a prefix, and any entry the gradient of a
parameter under the library's name (NAME:grad).

Changes are applied in this order: `reshape`, `transpose` (a permutation of axes), `reshape_after`. Sizes are
whole numbers, of which one may be -1, or "N" (images), "T" (tokens), "D" (width), "heads", "d" (of a head),
"rows" and "columns" (of patches). "tap" in the place of a list stands for the tap's own shape:
{"*": {"tap": "*", "reshape": "tap"}} adds a missing batch axis everywhere. The entries `sure`,
`error` and `guess`, as proposals have them, are for the reader.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.json_files import read_object
from vitref.weights.files import StrPath

CHANGES = ("reshape", "transpose", "reshape_after")
COMMENTS = ("sure", "error", "guess")
SYMBOLS = ("N", "T", "D", "heads", "d", "rows", "columns")
WHOLE = "tap"
"""In the place of sizes: the shape of the tap."""

_PLACEHOLDER = re.compile(r"\*|\{L\}")
_TARGET = re.compile(r"\*|\{L([+-]\d{1,3})?\}")

REMEDY = (
    'Correct the map; an entry is "their name": "tap", or {"tap": ..., "reshape": [...], "transpose": [...]}.'
)


class Row(NamedTuple):
    """One entry: `pattern` matches their names; `tap` may have placeholders, None leaves the tensor out;
    `changes` are the given ones, in the order of `CHANGES`."""

    name: str
    pattern: re.Pattern[str]
    tap: str | None
    changes: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def is_general(self) -> bool:
        return bool(_PLACEHOLDER.search(self.name))

    def target(self, match: re.Match[str]) -> str:
        """The tap, with what the placeholders stood for."""
        found = list(zip(_PLACEHOLDER.findall(self.name), match.groups(), strict=True))

        def filled(place: re.Match[str]) -> str:
            kind = "*" if place[0] == "*" else "{L}"
            text = next(text for mark, text in found if mark == kind)
            if kind == "{L}":
                return str(int(text) + int(place[1] or 0))
            found.remove((kind, text))
            return text

        return _TARGET.sub(filled, self.tap or "")


def read(given: StrPath | Mapping[str, Any]) -> tuple[list[Row], str]:
    """The rows, full names first, and what to call the map in messages. Raises ConfigError."""
    content = given if isinstance(given, Mapping) else read_object(given)
    where = "map" if isinstance(given, Mapping) else str(given)
    rows = [_row(name, value, f"{where}: {name}") for name, value in content.items()]
    return sorted(rows, key=lambda row: row.is_general), where


def _row(name: Any, value: Any, where: str) -> Row:
    if not isinstance(name, str):
        raise wrong(where, f"the name {name!r}", "text")
    entry = value if isinstance(value, Mapping) else {"tap": value}
    unknown = [key for key in entry if key not in ("tap", *CHANGES, *COMMENTS)]
    if unknown or "tap" not in entry:
        found = f"the entry {unknown[0]!r}" if unknown else "no tap"
        raise wrong(where, found, f"tap, and {', '.join(CHANGES)} where needed")
    tap = entry["tap"]
    if tap is not None and not isinstance(tap, str):
        raise wrong(where, f"the tap {ascii(tap)[:60]}", "the name of a tap, or null")
    row = Row(
        name,
        _pattern(name),
        tap,
        tuple((key, _sizes(entry[key], key, where)) for key in CHANGES if key in entry),
    )
    if tap is not None:
        _check_placeholders(name, tap, where)
    return row


def _pattern(name: str) -> re.Pattern[str]:
    parts, marks = _PLACEHOLDER.split(name), _PLACEHOLDER.findall(name)
    groups = [r"(.+)" if mark == "*" else r"(0|[1-9]\d{0,5})" for mark in marks]
    text = "".join(re.escape(part) + group for part, group in zip(parts, [*groups, ""], strict=True))
    return re.compile(text, re.DOTALL)


def _check_placeholders(name: str, tap: str, where: str) -> None:
    stars = name.count("*"), sum(mark[0] == "*" for mark in _TARGET.finditer(tap))
    numbers = name.count("{L}"), sum(mark[0] != "*" for mark in _TARGET.finditer(tap))
    if stars[1] > stars[0] or (numbers[1] and not numbers[0]) or numbers[0] > 1:
        raise wrong(
            where, f"the tap {tap!r}", "no placeholder that the name does not have, and {L} once in the name"
        )


def _sizes(value: Any, key: str, where: str) -> tuple[Any, ...]:
    if value == WHOLE and key != "transpose":
        return (WHOLE,)
    symbols = () if key == "transpose" else SYMBOLS
    if isinstance(value, (list, tuple)) and all(_is_size(v, key) or v in symbols for v in value):
        return tuple(value)
    expected = (
        "a list of axes" if key == "transpose" else f"a list of sizes: whole numbers or {', '.join(SYMBOLS)}"
    )
    raise wrong(where, f"{key} {ascii(value)[:60]}", expected)


def _is_size(value: Any, key: str) -> bool:
    """Whether it is a whole number that a size, or with "transpose" an axis, can be."""
    return type(value) is int and (key == "transpose" or value >= -1)


def changed(
    row: Row, array: HostArray, config: Config, images: int, shape: tuple[int, ...] | None
) -> HostArray:
    """The array after the row's changes; `shape` is the tap's. Raises ValueError when one does not fit."""
    sizes: dict[Any, int] = {
        "N": images,
        "T": config.tokens,
        "D": config.width,
        "heads": config.heads,
        "d": config.head_dim,
        "rows": config.grid[0],
        "columns": config.grid[1],
    }
    for key, values in row.changes:
        if values == (WHOLE,):
            if shape is None:
                raise ValueError("the target is no tap and has no shape")
            array = array.reshape(shape)
        elif key == "transpose":
            array = array.transpose(values)
        else:
            array = array.reshape(tuple(sizes.get(value, value) for value in values))
    return array


def wrong(where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(where, found=found, expected=expected, remedy=REMEDY)
