"""One candidate at one case, in a process of its own: builds, warms up, then runs once per line of input.

Each answer is one line of JSON: first a `Started`, then after each line of standard input the seconds of
one run. Source of the memory figures: proc(5), /proc/pid/clear_refs and /proc/pid/status.
"""

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from vitref.benchmark.candidates import CANDIDATES, answer
from vitref.benchmark.case import Case, problem

SETTLE = 0.5
"""Seconds of rest before a turn: the threads of the candidate before it go on spinning for a while."""

SHORT = 1.0
"""Seconds: a run below this is repeated once untimed at the start of a turn, to be as warm as a long one."""

WARM_UP = 2
"""Runs before the first that is timed; memory is measured during them."""


class Started(NamedTuple):
    """answer    what candidates must agree on
    memory    peak of the first runs above what the process held once built, in MiB; None if unknown
    libraries module -> version
    blas      the linear algebra libraries in this process: name, architecture, threads
    """

    answer: list[float]
    memory: float | None
    libraries: dict[str, str]
    blas: list[str]


def main(name: str, words: str) -> None:
    candidate, case = CANDIDATES[name], Case(*json.loads(words))
    call = candidate.build(problem(case), case)
    values, memory = warm_up(call)
    libraries = {module: version(module) for module in candidate.modules}
    say(Started(values, memory, libraries, blas())._asdict())
    seconds = 0.0
    for _ in sys.stdin:
        time.sleep(SETTLE)
        if seconds < SHORT:
            call()
        seconds = timed(call)
        say(seconds)


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one run, without the time to free its result."""
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    del result
    return seconds


def warm_up(call: Callable[[], Any]) -> tuple[list[float], float | None]:
    """The answer, and the peak memory of the first runs."""
    gc.collect()
    before = reset_peak()
    for _ in range(WARM_UP - 1):
        call()
    result = call()
    peak = resident("VmHWM")
    return answer(result), None if before is None else peak - before


def reset_peak() -> float | None:
    """Forget the peak so far; MiB that the process holds now, or None where the system cannot tell."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    reset.write_text("5", encoding="ascii")
    return resident("VmRSS")


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB; 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    kilobytes = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kilobytes[0]) / 1024 if kilobytes else 0.0


def blas() -> list[str]:
    """The linear algebra libraries of this process."""
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    words = {
        f"{pool['internal_api']} {pool.get('architecture') or ''}".strip() + f" x{pool['num_threads']}"
        for pool in threadpoolctl.threadpool_info()
    }
    return sorted(words)


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
