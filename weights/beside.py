"""What files beside the weights say about them: config.json and preprocessor_config.json."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vitref import conventions
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.json_files import read_object
from vitref.processors import CONFIG_FILE, PROCESSOR_FILE
from vitref.weights.formats import ConfigFile, Format

_PLAIN = ("vit_", "deit", "flexivit")
"""How timm's names of plain Vision Transformers begin."""


class Beside(NamedTuple):
    """The library's config file beside the tensors, if it is one of this format, and remarks about it."""

    file: ConfigFile | None
    remarks: list[str]


def read(file: str, layout: Format, sizes: Mapping[str, Fact]) -> Beside:
    """What lies beside `file` and is of the format `layout`.

    sizes  what the tensors say, by Config field

    Raises ConfigError for a file that is no JSON object, or says what is not supported.
    """
    folder = os.path.dirname(file)
    content = _content(folder, CONFIG_FILE)
    if content is None:
        return Beside(None, [])
    with _in_folder(folder):
        found = layout.read_config(content, CONFIG_FILE, sizes)
    if found is None:
        remark = f"The {CONFIG_FILE} beside it is not one that {layout.name} writes; it was not used."
        return Beside(None, [remark])
    processor = _content(folder, PROCESSOR_FILE) if layout.read_pixels else None
    if processor is not None and layout.read_pixels:
        with _in_folder(folder):
            found = found._replace(pixels=layout.read_pixels(processor, PROCESSOR_FILE))
    if found.architecture and conventions.architecture(found.architecture) is None:
        remark = f"The architecture {found.architecture!r} in {CONFIG_FILE} is not one that is known here."
        if not found.architecture.startswith(_PLAIN):
            remark += " It is not called like a plain Vision Transformer; compare the numerics with its code."
        return Beside(found, [remark])
    return Beside(found, [])


def _content(folder: str, name: str) -> dict[str, Any] | None:
    path = os.path.join(folder, name)
    return read_object(path) if os.path.lexists(path) else None


@contextlib.contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """Errors raised inside name the folder of the file as well."""
    try:
        yield
    except ConfigError as error:
        where = os.path.join(folder, error.where)
        raise ConfigError(where, found=error.found, expected=error.expected, remedy=error.remedy) from None
