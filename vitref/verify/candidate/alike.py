"""What unknown names say once values have told a few: the same part of another block, its cotangent, or the
gradient of its parameters. And which taps a name's ending admits at all."""

import re
from collections.abc import Iterable, Mapping

ENDINGS = (".weight:grad", ".bias:grad", ":grad", ":dy", "")
"""The longest first. A module and its step are known by what comes before."""

_BLOCK = re.compile(r"blocks\.(\d+)(.*)", re.DOTALL)
_NUMBER = re.compile(r"(\D*)(\d{1,6})(.*)", re.DOTALL)

Part = tuple[str, str] | str
"""A name without its ending: before and after its first number, or whole."""


def by_names(sure: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Name -> tap, for the names that are like those of `sure` (name -> tap).

    >>> by_names({"layer.1.ln": "blocks.0.norm1"}, ["layer.2.ln", "layer.2.ln:dy", "layer.2.fc"])
    {'layer.2.ln': 'blocks.1.norm1', 'layer.2.ln:dy': 'blocks.1.norm1:dy'}
    """
    parts = _parts(sure)
    found: dict[str, str] = {}
    for name in names:
        stem, ending = _split(name)
        tap = _tap(stem, parts)
        if tap is not None:
            found[name] = tap + ending
    return found


def kind(name: str) -> str:
    """`:dy`, `:grad` or nothing: a cotangent, a parameter's gradient, or neither as far as the name says."""
    return next((ending for ending in (":dy", ":grad") if name.endswith(ending)), "")


def _split(name: str) -> tuple[str, str]:
    ending = next(ending for ending in ENDINGS if name.endswith(ending))
    return name.removesuffix(ending), ending


def _parts(sure: Mapping[str, str]) -> dict[Part, set[tuple[int, str]]]:
    """Part -> how much its tap's block counts from another first one, and the tap; several contradict."""
    parts: dict[Part, set[tuple[int, str]]] = {}
    for name, tap in sure.items():
        (stem, ending), (step, own) = _split(name), _split(tap)
        block, number = _BLOCK.fullmatch(step), _NUMBER.fullmatch(stem)
        if ending != own:
            continue
        parts.setdefault(stem, set()).add((0, step))
        if block and number:
            shift = int(block[1]) - int(number[2])
            parts.setdefault((number[1], number[3]), set()).add((shift, block[2]))
    return parts


def _tap(stem: str, parts: Mapping[Part, set[tuple[int, str]]]) -> str | None:
    """The tap of this part, where nothing contradicts it."""
    whole = parts.get(stem, set())
    if len(whole) == 1:
        return next(iter(whole))[1]
    number = _NUMBER.fullmatch(stem)
    alike = parts.get((number[1], number[3]), set()) if number and not whole else set()
    if number is None or len(alike) != 1:
        return None
    shift, rest = next(iter(alike))
    return f"blocks.{int(number[2]) + shift}{rest}"
