"""Reading a JSON object from a small file, such as a config.json beside a checkpoint."""

import json
import os
import stat
from collections import Counter
from typing import Any, TypeAlias

from vitref.errors import ConfigError

StrPath: TypeAlias = str | os.PathLike[str]

LARGEST = 2_500_000
"""Bytes. Parsed JSON can take thirty times the memory of its text."""


def read_object(path: StrPath) -> dict[str, Any]:
    """The JSON object in a file. Raises ConfigError for anything else, and for a file that cannot be read."""
    name = str(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise _wrong(name, "no regular file")
        with open(name, "rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise _wrong(
            name, f"a file that cannot be read ({getattr(error, 'strerror', '') or error})"
        ) from error
    if len(content) > LARGEST:
        raise _wrong(name, f"more than {LARGEST:,} bytes")
    return parse_object(content, name)


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object in UTF-8 text. Raises ConfigError for anything else and for a name given twice."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        repeated.extend(name for name, count in counts.items() if count > 1)
        return dict(pairs)

    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _wrong(where, f"no JSON ({error})") from None
    if repeated:
        raise _wrong(where, f"the name {ascii(repeated[0])} twice")
    if not isinstance(found, dict):
        raise _wrong(where, f"a JSON {type(found).__name__}")
    return found


def _wrong(where: str, found: str) -> ConfigError:
    return ConfigError(
        where,
        found=found,
        expected="a JSON object",
        remedy="Correct the file, or move the weights away from it.",
    )
