"""Candidate: what somebody else's model computed, tap by tap, read from wherever it is when asked for."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vitref.array import HostArray
from vitref.verify.candidate.checking import listed
from vitref.verify.candidate.resolve import Resolved, Shapes
from vitref.verify.candidate.stored import Stored


class Lazy(Mapping[str, HostArray]):
    """Arrays of a file, read each time they are asked for, values unchecked."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self._stored = dict(stored)

    def __getitem__(self, name: str) -> HostArray:
        return self._stored[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


class Extras(NamedTuple):
    """What a file holds beside taps: see `Candidate`."""

    inputs: Mapping[str, HostArray]
    weights: Mapping[str, HostArray]
    about: Mapping[str, Any]


class Candidate(Mapping[str, HostArray]):
    """A read-only mapping from tap to array, in the order of the reference's taps.

    Arrays are read when they are asked for, each time anew, in the dtype in which they were stored
    (bfloat16 as `ml_dtypes.bfloat16`), and are read-only. Asking raises CheckpointError for damaged data
    and for values that are not finite.

    where    the file or folder, for messages
    renamed  tap -> its name in the file, where that is another; parts of one gradient joined by ", "
    second   name in the file -> tap, for a second name of an output that was read under another
    left_out name in the file -> why it is not read
    library  whose names they are: "timm", "huggingface", ..., or None for vitref's own or a map's
    inputs   "image", "labels", "cotangent.PATH" -> array, where the file has `input.NAME`
    weights  parameter -> array, where the file has `weight.NAME`
    about    what made a trace or a capture of vitref; {} for other files
    remarks  what was assumed in reading, and what was not read, in full sentences
    """

    def __init__(self, where: str, found: Resolved, expected: Shapes, extras: Extras) -> None:
        self._taps = {tap: found.taps[tap] for tap in expected if tap in found.taps}
        self.where = where
        self.renamed = {tap: stored.name for tap, stored in self._taps.items() if stored.name != tap}
        self.second = dict(found.second)
        self.left_out = dict(found.left_out)
        self.library = found.library
        self.remarks = (*found.remarks, *_unread(found.left_out))
        self.inputs, self.weights, self.about = extras

    def __getitem__(self, tap: str) -> HostArray:
        return self._taps[tap].read()

    def __contains__(self, tap: object) -> bool:
        return tap in self._taps

    def __iter__(self) -> Iterator[str]:
        return iter(self._taps)

    def __len__(self) -> int:
        return len(self._taps)

    def __repr__(self) -> str:
        return f"Candidate({len(self)} taps of {self.where})"

    def shape(self, tap: str) -> tuple[int, ...]:
        """The tap's shape, without reading the array."""
        return self._taps[tap].shape

    def dtype(self, tap: str) -> str:
        """The dtype in which the tap was stored, without reading the array."""
        return str(self._taps[tap].dtype)


def _unread(left_out: Mapping[str, str]) -> Iterator[str]:
    """A sentence for every reason for which arrays are not read."""
    for why in dict.fromkeys(left_out.values()):
        names = [name for name, reason in left_out.items() if reason == why]
        yield f"Not read, each {why}: {', '.join(listed(names))}."
