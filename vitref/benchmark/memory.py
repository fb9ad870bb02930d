"""Memory: the peak of a process, what the machine has left, and what a case needs, roughly.

Source of the figures of the host: proc(5), /proc/pid/clear_refs, /proc/pid/status and /proc/meminfo.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitref.benchmark.case import Case

MIB = 2**20


class Meter(NamedTuple):
    """held   MiB in use now; None where it cannot be told
    reset  forget the peak so far
    peak   the most MiB in use since then
    rest   between turns: let go of what is kept for the next run only in case
    """

    held: Callable[[], float | None]
    reset: Callable[[], None]
    peak: Callable[[], float]
    rest: Callable[[], None] = lambda: None


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB; 0 where there is none."""
    return _kilobytes(Path("/proc/self/status"), field) / 1024


def available() -> float | None:
    """MiB that the machine could still give; None where it cannot be told."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable") / 1024 or None


def _kilobytes(path: Path, field: str) -> int:
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return found[0] if found else 0


CLEAR = Path("/proc/self/clear_refs")


def _held() -> float | None:
    if not CLEAR.exists():
        return None
    gc.collect()
    _trim()
    return resident("VmRSS")


def _trim() -> None:
    """Give back what was freed but is kept for later: what building took by the way is not the program's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset() -> None:
    if CLEAR.exists():
        CLEAR.write_text("5", encoding="ascii")


HOST = Meter(_held, _reset, lambda: resident("VmHWM"))
"""The resident memory of this process."""


def first_victim() -> None:
    """Should memory run out, the system ends this process before any other."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000", encoding="ascii")


LIBRARY = 400.0
"""MiB that a library takes by itself, roughly."""

STREAMS_FORWARD = 30
"""Arrays of the size of the token stream that a forward pass holds at its peak, at most."""


def need(case: Case, kept: int, whole_attention: bool) -> float:
    """MiB that a candidate takes at this case, roughly and rather too much.

    kept             arrays of the size of the token stream that one block keeps for its backward pass
    whole_attention  whether it forms the attention matrices of a whole batch
    """
    config, size = case.config, np.dtype("float64" if case.dtype == "float64" else "float32").itemsize
    stream = case.batch * config.tokens * config.width
    scores = 2 * case.batch * config.heads * config.tokens**2 if whole_attention else 0
    if case.direction == "forward":
        return LIBRARY + size * (2 * config.parameters + STREAMS_FORWARD * stream + scores) / MIB
    return LIBRARY + size * (3 * config.parameters + config.depth * (kept * stream + scores)) / MIB
