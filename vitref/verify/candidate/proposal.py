"""Proposing a map for names that nobody knows: by shape and, where there is a reference, by value."""

import math
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.candidate import alike
from vitref.verify.candidate.matching import Match, Reference, assigned, matches
from vitref.verify.candidate.resolve import Resolved, Shapes
from vitref.verify.candidate.stored import Stored

NEAR = 1e-2
"""Relative error below which an array is taken to be the tap, when no other tap comes near."""

CLEAR = 10
"""How many times worse every other tap must be."""

FAR = 0.5
"""Relative error from which a value says nothing."""

SHOWN = 8

SURE, BY_NAME, GUESS = "sure", "by name", "guess"


def proposed(unknown: Mapping[str, Stored], expected: Shapes, reference: Reference | None) -> dict[str, Any]:
    """Name -> entry of a map, with comments: `sure`, `error` and `guess`.

    sure     one tap is nearer than NEAR, and every other one that differs CLEAR times farther
    by name  named as a sure one is: the same part of another block, its cotangent or its parameter
    likely   the nearest tap, or the only one that the shape fits
    guess    one of several taps of this shape, by the likeness of the names; the value is none of them. The
             entry leaves the tensor out, for a wrong name would be reported as a wrong step
    no tap fits  no tap has this shape in any layout; the entry leaves the tensor out
    """
    found = _of_their_kind(matches(unknown, expected, reference))
    near = dict(assigned({name: [m for m in row if m.error < FAR] for name, row in found.items()}))
    sure = {name: m for name, m in near.items() if _sure(m, found[name], reference) == SURE}
    named = _named(found, {name: match.tap for name, match in sure.items()})
    near = sure | {name: m for name, m in near.items() if m.tap not in {n.tap for n in named.values()}}
    taken = {match.tap for match in [*near.values(), *named.values()]}
    entries: dict[str, Any] = {}
    for name, row in found.items():
        match = named.get(name) or near.get(name) or _guess(name, [m for m in row if m.tap not in taken])
        if match is None:
            entries[name] = {"tap": None, "sure": "no tap fits"}
        else:
            taken.add(match.tap)
            entries[name] = _entry(match, BY_NAME if name in named else _sure(match, row, reference))
    return entries


def _of_their_kind(found: Mapping[str, list[Match]]) -> dict[str, list[Match]]:
    """Without cotangents for what is none by its name, and so on, where names say such things at all."""
    if not any(alike.kind(name) for name in found):
        return dict(found)
    return {name: [m for m in row if alike.kind(m.tap) == alike.kind(name)] for name, row in found.items()}


def _named(found: Mapping[str, list[Match]], sure: Mapping[str, str]) -> dict[str, Match]:
    """Name -> the tap that it has because another name is sure."""
    taken = set(sure.values())
    named: dict[str, Match] = {}
    for name, tap in alike.by_names(sure, [name for name in found if name not in sure]).items():
        match = next((match for match in found[name] if match.tap == tap), None)
        if match and tap not in taken:
            taken.add(tap)
            named[name] = match
    return named


def _guess(name: str, free: list[Match]) -> Match | None:
    """The tap whose name is most alike."""
    return max(free, key=lambda match: SequenceMatcher(None, name, match.tap).ratio(), default=None)


def _sure(match: Match, row: list[Match], reference: Reference | None) -> str:
    if match.error >= FAR:
        alone = len({other.tap for other in row}) == 1 and reference is None
        return "likely" if alone else GUESS
    others = [other.error for other in row if other.error != match.error]
    clear = min(others, default=math.inf) >= CLEAR * match.error
    return SURE if match.error < NEAR and clear and match.error <= row[0].error else "likely"


def _entry(match: Match, sure: str) -> dict[str, Any]:
    error = {} if math.isinf(match.error) else {"error": float(f"{match.error:.2g}")}
    tap: dict[str, Any] = {"tap": None, "guess": match.tap} if sure == GUESS else {"tap": match.tap}
    return {**tap, **match.way, "sure": sure, **error}


def unknown_names(
    found: Resolved, expected: Shapes, config: Config, where: str, reference: Reference | None
) -> ConfigError:
    """The error that lists unknown names, and for each what it seems to be."""
    entries = proposed(found.unknown, _free(found, expected), reference)
    lines = [f"{name} {found.unknown[name].shape}: {_said(entry)}" for name, entry in entries.items()]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    plural = "1 name that is no tap" if len(lines) == 1 else f"{len(lines)} names that are no taps"
    return ConfigError(
        where,
        found=f"{plural}\n  " + "\n  ".join([*lines[:SHOWN], *more]),
        expected="taps under vitref's names, or modules of timm, Hugging Face, torchvision or Google",
        remedy="Say in a map what they are; `vitref compare ... --propose-map FILE` writes this proposal to "
        "a file, to be checked and given as --map FILE.",
    )


def _free(found: Resolved, expected: Shapes) -> Shapes:
    return {tap: shape for tap, shape in expected.items() if tap not in found.taps}


def _said(entry: Mapping[str, Any]) -> str:
    if entry["tap"] is None:
        guess = f"perhaps {entry['guess']}, by its name" if "guess" in entry else "no tap fits"
        return f"{guess}; null leaves it out"
    changes = " after a change of layout" if any(k in entry for k in ("reshape", "transpose")) else ""
    error = f", {_distance(entry['error'])}" if "error" in entry else ""
    return f"{entry['tap']}{changes} ({entry['sure']}{error})"


def _distance(error: float) -> str:
    return f"relative error {error:.0e}" if error else "the same values"
