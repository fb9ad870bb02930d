"""A candidate ready to run: the call that is timed, how its results come to NumPy, how memory is measured."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.benchmark.case import Case, Problem
from vitref.benchmark.memory import HOST, Meter


def to_numpy(array: Any) -> HostArray:
    return np.asarray(array)


class Program(NamedTuple):
    """call     () -> logits, or parameter -> gradient, in any library's arrays; returns when they are there
    to_host  one of these arrays -> NumPy array
    meter    how the memory of this process is measured
    device   the device it runs on, in words; "" for the processor
    versions module -> version, beside those of the candidate
    """

    call: Callable[[], Any]
    to_host: Callable[[Any], HostArray] = to_numpy
    meter: Meter = HOST
    device: str = ""
    versions: dict[str, str] = {}


Build = Callable[[Problem, Case], Program]


def cores() -> int:
    """Those that this process may use: as many threads for every candidate."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answer(program: Program, result: Any) -> list[float]:
    """What candidates must agree on: the logits, or the L2 norm of each parameter's gradient, by name.

    Nothing for None: a candidate that computes no model.
    """
    if result is None:
        return []
    if isinstance(result, dict):
        return [float(np.linalg.norm(_exact(program, result[name]))) for name in sorted(result)]
    return [float(value) for value in _exact(program, result).ravel()]


def _exact(program: Program, array: Any) -> HostArray:
    return program.to_host(array).astype(np.float64)
