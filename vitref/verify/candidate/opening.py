"""Opening a candidate: files to arrays, names to taps, and everything checked that needs no values."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.json_files import read_object
from vitref.verify.candidate import checking, files, proposal
from vitref.verify.candidate.applying import applied
from vitref.verify.candidate.candidate import Candidate, Extras, Lazy
from vitref.verify.candidate.files import Dump
from vitref.verify.candidate.resolve import Resolved, Shapes, resolve, twice
from vitref.verify.candidate.stored import Stored, check_dtype
from vitref.weights.files import StrPath

INPUT, WEIGHT = "input.", "weight."
"""How the names begin of what is no tap: what the candidate was given, and its parameters."""

Source = StrPath | Mapping[str, Any] | Dump


def open_candidate(
    source: Source,
    *,
    expected: Mapping[str, tuple[int, ...]],
    config: Config,
    map: StrPath | Mapping[str, Any] | None = None,
    reference: Callable[[str], HostArray] | None = None,
) -> Candidate:
    """What a candidate computed, as vitref's taps.

    source     a file, a folder of files, a mapping from names to arrays, a Recording, or what `files.opened`
               returned
    expected   the reference's taps (cotangents and gradients too) and their shapes
    config     of the reference model
    map        names to taps, as `mapping` describes; a JSON file or a mapping
    reference  tap -> the reference's array; with it an error over unknown names says what they are by value

    Raises CheckpointError for files that cannot be read or hold a tap twice or in another dtype than
    float64, float32, float16 and bfloat16; ConfigError for a map that does not fit, names that are unknown,
    and shapes that are not the reference's. Values are checked when they are read.
    """
    dump = files.opened(source)
    found = resolved(dump, expected, config, map)
    checking.check_foreign(found.foreign, expected, config, dump.where)
    if found.unknown:
        _refuse_prefix(found, expected, config, dump.where)
        raise proposal.unknown_names(found, expected, config, dump.where, reference)
    _require_taps(found, dump)
    for stored in found.taps.values():
        check_dtype(stored)
    checking.check_shapes(found.taps, expected, dump.where)
    return Candidate(dump.where, found, expected, extras(dump))


def extras(source: Source) -> Extras:
    """What the files hold beside taps: inputs, weights, and what a trace says of itself.

    Raises CheckpointError for files that cannot be read.
    """
    dump = files.opened(source)
    inputs = {n.removeprefix(INPUT): s for n, s in dump.arrays.items() if n.startswith(INPUT)}
    weights = {n.removeprefix(WEIGHT): s for n, s in dump.arrays.items() if n.startswith(WEIGHT)}
    return Extras(Lazy(inputs), Lazy(weights), _about(dump))


def resolved(
    dump: Dump, expected: Shapes, config: Config, map: StrPath | Mapping[str, Any] | None
) -> Resolved:
    """Names to taps, the map's first. Raises as `open_candidate` does for a map and for a tap given twice."""
    arrays = {name: s for name, s in dump.arrays.items() if not name.startswith((INPUT, WEIGHT))}
    if not arrays:
        raise ConfigError(
            dump.where,
            found=f"nothing but {', '.join(list(dump.arrays)[:3])}",
            expected="outputs of the model too",
            remedy="Write what the candidate computed, each output under its name.",
        )
    mapped: dict[str, Stored] = {}
    if map is not None:
        mapped, arrays = applied(arrays, map, expected, config, dump.where)
    found = resolve(arrays, expected, config, dump.where)
    for tap, stored in mapped.items():
        if tap in found.taps:
            raise twice(dump.where, tap, stored.name, found.taps[tap].name)
    found.taps |= mapped
    return found


def _require_taps(found: Resolved, dump: Dump) -> None:
    """Raise ConfigError when no array is a tap: all of them are left out."""
    if not found.taps:
        raise ConfigError(
            dump.where,
            found=f"{len(dump.arrays)} arrays, all left out ({', '.join(list(dump.arrays)[:3])}, ...)",
            expected="outputs of the model's steps",
            remedy="Say in a map what the arrays are.",
        )


def _about(dump: Dump) -> Mapping[str, Any]:
    """What a trace or a capture of vitref says of itself; {} for any other file."""
    try:
        about = json.loads(dump.metadata.get("trace") or dump.metadata.get("capture", "{}"))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _refuse_prefix(found: Resolved, expected: Shapes, config: Config, where: str) -> None:
    """Raise ConfigError when the unknown names are known but for something that all of them begin with."""
    prefix, first = _prefix(found, expected, config, where), next(iter(found.unknown))
    if prefix:
        raise ConfigError(
            where,
            found=f"names that all begin with {prefix!r} ({first}, ...)",
            expected=f"the same names without it ({first.removeprefix(prefix)}, ...)",
            remedy=f'Give a map that strips it: {{"{prefix}*": "*"}}.',
        )


def _prefix(found: Resolved, expected: Shapes, config: Config, where: str) -> str:
    """What all unknown names begin with, where most are known without it; else ""."""
    names = list(found.unknown)
    separator = "/" if all("/" in name for name in names) else "."
    prefix = names[0].partition(separator)[0] + separator if names else ""
    if not names or not all(name.startswith(prefix) for name in names):
        return ""
    bare = {name.removeprefix(prefix): stored for name, stored in found.unknown.items()}
    left = resolve(bare, expected, config, where).unknown
    return prefix if 2 * len(left) <= len(bare) else ""


def propose(
    source: Source,
    *,
    expected: Mapping[str, tuple[int, ...]],
    config: Config,
    reference: Callable[[str], HostArray] | None = None,
    map: StrPath | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A map for the names that are unknown: name -> entry, to be written as JSON and given as `map=`.

    Each entry says how sure it is (`sure`: "sure", "likely", "guess" or "no tap fits") and, where there is
    a reference, the relative error to it (`error`). A prefix that hides known names is one entry. The entries
    of `map` come first, as they are; {} when every name is known. Arguments and errors as of
    `open_candidate`.
    """
    dump = files.opened(source)
    found = resolved(dump, expected, config, map)
    free = {tap: shape for tap, shape in expected.items() if tap not in found.taps}
    given = {} if map is None else dict(map) if isinstance(map, Mapping) else read_object(map)
    prefix = _prefix(found, expected, config, dump.where)
    if prefix:
        return {**given, f"{prefix}*": "*"}
    return {**given, **proposal.proposed(found.unknown, free, reference)}
