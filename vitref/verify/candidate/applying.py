"""Applying a map: the candidate's arrays under the names and in the layouts that it gives them."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.candidate import gradients, mapping
from vitref.verify.candidate.libraries import LIBRARIES
from vitref.verify.candidate.mapping import Row
from vitref.verify.candidate.resolve import Shapes, own_name, rule_of, twice
from vitref.verify.candidate.stored import Stored
from vitref.weights.files import StrPath


def applied(
    arrays: Mapping[str, Stored],
    given: StrPath | Mapping[str, Any],
    expected: Shapes,
    config: Config,
    where: str,
) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """(tap -> array for names that the map gives a tap, name -> array for the rest).

    In the rest are the names that no row fits, and those that the map gives a library's name; tensors that
    it leaves out are in neither. Raises ConfigError for a name that the file does not have, a tap that the
    reference does not have, two names of one tap, and a change that does not fit.
    """
    rows, place = mapping.read(given)
    _check_names(rows, arrays, where, place)
    taps: dict[str, Stored] = {}
    rest: dict[str, Stored] = {}
    for name, stored in arrays.items():
        row = next((row for row in rows if row.pattern.fullmatch(name)), None)
        if row is None:
            rest[name] = stored
        elif row.tap is not None:
            target = _target(row, name, expected, config, f"{place}: {row.name}")
            changed = _changed(row, stored, target, expected, config, f"{place}: {row.name}")
            file = taps if target in expected else rest
            if target in file:
                raise twice(where, target, file[target].name, name)
            file[target] = changed
    return taps, rest


def _check_names(rows: list[Row], arrays: Mapping[str, Stored], where: str, place: str) -> None:
    missing = [row.name for row in rows if not row.is_general and row.name not in arrays]
    if missing:
        close = get_close_matches(missing[0], arrays, n=3)
        raise ConfigError(
            place,
            found=f"{missing[0]!r}, which {where} does not have"
            + (f", and {len(missing) - 1} more such names" if len(missing) > 1 else ""),
            expected=f"names of arrays in it, such as {', '.join(close or list(arrays)[:3])}",
            remedy="Correct the name, or take the entry out of the map.",
        )


def _target(row: Row, name: str, expected: Shapes, config: Config, place: str) -> str:
    """The tap that the row gives this name, or a name that a library has."""
    match = row.pattern.fullmatch(name)
    assert match is not None
    target = row.target(match)
    tap = own_name(target, expected)
    if tap is not None:
        return tap
    if _is_parameter(target, config):
        return target
    if row.is_general and any(rule_of(library, target, config) for library in LIBRARIES):
        return target
    close = get_close_matches(target, expected, n=3)
    raise ConfigError(
        place,
        found=f"the tap {target!r}" + (f" for {name}" if row.is_general else ""),
        expected=f"a tap of the reference{', such as ' + ', '.join(close) if close else ''}",
        remedy="Correct the tap; `vitref trace` records all of them under their names.",
    )


def _is_parameter(target: str, config: Config) -> bool:
    bare = gradients.bare(target)
    return bare is not None and any(bare in naming.dotted for naming in gradients.namings(config))


def _changed(row: Row, stored: Stored, target: str, expected: Shapes, config: Config, place: str) -> Stored:
    images, shape = _images(expected), expected.get(target)
    try:
        changed = stored.changed(lambda array: mapping.changed(row, array, config, images, shape))
    except ValueError as error:
        raise ConfigError(
            f"{place}: {stored.name}",
            found=f"shape {stored.shape}, which the changes do not fit ({error})",
            expected=f"{expected[target]}, the shape of {target}"
            if target in expected
            else "a fitting shape",
            remedy="Correct reshape, transpose or reshape_after; they are applied in this order.",
        ) from None
    if target in expected and row.changes and changed.shape != expected[target]:
        raise ConfigError(
            f"{place}: {stored.name}",
            found=f"shape {stored.shape}, which becomes {changed.shape}",
            expected=f"{expected[target]}, the shape of {target}",
            remedy="Correct reshape, transpose or reshape_after; they are applied in this order.",
        )
    return changed


def _images(expected: Shapes) -> int:
    return next((shape[0] for tap, shape in expected.items() if ":" not in tap and len(shape) > 1), 1)
