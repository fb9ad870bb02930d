"""What each source says of a model and its pixels: which facts are told apart, which argument overrides a
file, and which file is to blame for a wrong value."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vitref import config, preprocessing
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.processors import CONFIG_FILE, PROCESSOR_FILE
from vitref.weights import record

RECIPE = preprocessing.FIELDS - config.FIELDS
"""The fields of Preprocessing that are none of Config."""

_PAIRS = ("image_size", "patch_size", "position_grid", "size", "resize_to")

_MADE_FROM = {"resize_to": "crop_pct", "size": "image_size"}
"""Preprocessing field -> what it is made from where nothing says it."""


class Said(NamedTuple):
    """What one source says: Config field -> Fact, and Preprocessing field (or crop_pct) -> Fact."""

    model: Mapping[str, Fact]
    pixels: Mapping[str, Fact]


def split(facts: Mapping[str, Fact]) -> Said:
    """Facts by the field that they are about, one of Config or of Preprocessing."""
    return Said(
        {name: fact for name, fact in facts.items() if name in config.FIELDS},
        {name: fact for name, fact in facts.items() if name in RECIPE or name == "crop_pct"},
    )


def same(field: str, one: Any, two: Any) -> bool:
    """Whether two values of a field mean the same; they may be of any kind."""
    return repr(_plain(field, one)) == repr(_plain(field, two))


def against(arguments: Said, files: Iterable[Said]) -> Said:
    """The arguments; where a file says otherwise, the source of the argument tells what it says."""
    files = list(files)
    return Said(
        _against(arguments.model, [source.model for source in files]),
        _against(arguments.pixels, [source.pixels for source in files]),
    )


@contextlib.contextmanager
def blamed(file: str, said: Sequence[Said]) -> Iterator[None]:
    """An error about a field of Config or Preprocessing names the file that says it, and the entry there.

    file  that of the tensors; config files lie beside it
    said  who says what, the first to be believed first; read when an error is raised

    A value that is an argument, or follows from something else than a file, is left to the error itself.
    """
    try:
        yield
    except ConfigError as error:
        kind, _, field = error.where.partition(".")
        place = _place(field, _blamed(kind, field, error.found, said), file)
        if not place:
            raise
        remedy = f"Correct the file, or give {field}=."
        raise ConfigError(place, found=error.found, expected=error.expected, remedy=remedy) from None


def _against(arguments: Mapping[str, Fact], files: list[Mapping[str, Fact]]) -> dict[str, Fact]:
    found = dict(arguments)
    for name, fact in arguments.items():
        stated = next((source[name] for source in files if name in source), None)
        if stated and not same(name, fact.value, stated.value):
            place = record.place(stated.source)
            found[name] = Fact(fact.value, f"{fact.source}, against {stated.value!r} in {place}")
    return found


def _plain(field: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        values = tuple(value)
        one_for_all = field in ("mean", "std") and values and all(repr(v) == repr(values[0]) for v in values)
        return values[0] if one_for_all else values
    return (value, value) if field in _PAIRS and type(value) is int else value


def _blamed(kind: str, field: str, found: str, said: Sequence[Said]) -> Fact | None:
    """The fact that the error is about: the first with the value that it found, else the first."""
    if kind not in ("Config", "Preprocessing"):
        return None
    pixels = [source.pixels for source in said] if kind == "Preprocessing" else []
    sources = [*pixels, *(source.model for source in said)]
    for name in (field, _MADE_FROM.get(field, field)):
        facts = [source[name] for source in sources if name in source]
        if facts:
            return next((fact for fact in facts if found in repr(fact.value)), facts[0])
    return None


def _place(field: str, fact: Fact | None, file: str) -> str:
    """The file that says so and the place in it; empty where that is no file."""
    if fact is None:
        return ""
    if fact.source.startswith((f"{CONFIG_FILE}: ", f"{PROCESSOR_FILE}: ")):
        return os.path.join(os.path.dirname(file), fact.source)
    return f"{file}: {field} ({fact.source})" if record.is_ours(fact.source) else ""
