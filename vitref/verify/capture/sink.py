"""Where captured arrays go: into memory, or into a file, one after the other.

A safetensors file begins with the shapes of all that follows, which nobody knows before the end. A
`FileSink` therefore writes each array to a temporary file as it comes and copies them all at the end, one at
a time: memory holds one array, however large the model is.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

import numpy as np

from vitref.array import HostArray
from vitref.errors import CheckpointError, ConfigError
from vitref.weights.files import StrPath, path_text, save_tensors
from vitref.weights.mapped import map_tensors

FORMAT = "vitref capture 1"

ENDING = ".safetensors"

Progress: TypeAlias = Callable[[str], None]
"""Called with the name of every array that was captured."""


class Captured(Mapping[str, HostArray]):
    """Arrays by name, read-only, in the order in which they were computed: taps, and `input.NAME`.

    Of a capture that went to a file, arrays are read from it when they are looked at. `about` says what made
    them, as plain values for JSON.
    """

    def __init__(self, arrays: Mapping[str, HostArray], about: Mapping[str, Any]) -> None:
        self._arrays, self.about = {name: array.view() for name, array in arrays.items()}, dict(about)
        for view in self._arrays.values():
            view.flags.writeable = False

    def __getitem__(self, name: str) -> HostArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Captured({len(self)} arrays from {self.about.get('source')})"


class MemorySink:
    """Copies of the arrays, in memory."""

    def __init__(self) -> None:
        self.arrays: dict[str, HostArray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def put(self, name: str, array: HostArray) -> None:
        self.arrays[name] = array.copy()


class FileSink:
    """Arrays on their way to a safetensors file; see the module."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.entries: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def put(self, name: str, array: HostArray) -> None:
        with _written(name):
            self.entries[name] = (self.stream.tell(), array.shape, array.dtype)
            self.stream.write(np.ascontiguousarray(array).tobytes())

    def views(self) -> dict[str, HostArray]:
        """What was put, read from the temporary file when it is looked at."""
        self.stream.flush()
        if not self.stream.tell():
            return {name: np.empty(shape, dtype) for name, (_, shape, dtype) in self.entries.items()}
        whole = np.memmap(self.stream, np.uint8, mode="r")
        return {
            name: whole[begin : begin + _nbytes(shape, dtype)].view(dtype).reshape(shape)
            for name, (begin, shape, dtype) in self.entries.items()
        }


Sink: TypeAlias = MemorySink | FileSink
"""Takes arrays under names, each name once."""


@contextmanager
def opened(out: StrPath | None) -> Iterator[Sink]:
    """A sink for what is captured: into memory, or on its way to the file `out`; see `finished`.

    Raises ConfigError for a name that does not end in .safetensors, CheckpointError when nothing can be
    written there: before anything is computed.
    """
    if out is None:
        yield MemorySink()
        return
    name = path_text(out)
    if not name.endswith(ENDING):
        raise ConfigError(
            f"out {name}",
            found="another ending",
            expected=ENDING,
            remedy=f"Choose a name ending in {ENDING}.",
        )
    with _temporary(name) as stream:
        yield FileSink(stream)


def finished(sink: Sink, out: StrPath | None, about: Mapping[str, Any]) -> Captured:
    """What the sink took: its file is written, whole or not at all, with `about` as metadata "capture".

    Raises CheckpointError when the file cannot be written.
    """
    about = {"format": FORMAT, **about}
    if isinstance(sink, MemorySink) or out is None:
        return Captured(sink.arrays if isinstance(sink, MemorySink) else sink.views(), about)
    order = list(sink.entries)
    save_tensors(out, sink.views(), {"capture": json.dumps({**about, "order": order}, sort_keys=True)})
    arrays = map_tensors(out)[0]
    return Captured({name: arrays[name] for name in order}, about)


def _temporary(name: str) -> IO[bytes]:
    with _written(name):
        return tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(name)), prefix=".vitref-capture-")


@contextmanager
def _written(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            name,
            found=f"that nothing can be written there ({error.strerror or error})",
            expected="an existing folder, with room for the file twice",
            remedy="Create the folder, make room, or choose another path.",
        ) from None


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
