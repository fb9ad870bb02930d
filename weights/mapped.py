"""Tensors of a safetensors file, left on the disk until somebody looks at them.

The file is mapped into memory: of a recording of many gigabytes only what is read takes room.
"""

import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref.weights import header, refusals
from vitref.weights.files import StrPath, path_text


def map_tensors(path: StrPath) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Every tensor (read-only, in the header's order), and the file's metadata.

    The header is checked here, the values are not. Raises CheckpointError for a missing, unreadable,
    damaged or foreign file.
    """
    name = path_text(path)
    try:
        refusals.check_kind(name, os.stat(name).st_mode)
        with open(name, "rb") as file:
            refusals.check(name, file.read(512))
            content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise refusals.unreadable(name, error) from error
    entries, metadata, start = header.parse(content, name)
    return {entry.name: _view(content, entry, start) for entry in entries}, metadata


def _view(content: Any, entry: header.Entry, start: int) -> npt.NDArray[Any]:
    count = int(np.prod(entry.shape, dtype=np.int64))
    if count == 0:
        return np.zeros(entry.shape, header.DTYPES[entry.dtype])
    flat = np.frombuffer(content, header.DTYPES[entry.dtype], count, start + entry.begin)
    return flat.reshape(entry.shape)
