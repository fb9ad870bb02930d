"""One candidate at one case, in a process of its own: builds, warms up, then takes a turn per line of input.

Each answer is one line of JSON: first a `Started`, then after each line of standard input the seconds of
one run, the median of the runs of that turn.
"""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from vitref.benchmark.candidates import CANDIDATES
from vitref.benchmark.case import Case, problem
from vitref.benchmark.memory import Meter, first_victim
from vitref.benchmark.program import Program, answer

SETTLE = 0.5
"""Seconds of rest before a turn: the threads of the candidate before it go on spinning for a while."""

SHORT = 1.0
"""Seconds: runs below this are repeated untimed at the start of a turn, to be as warm as long ones."""

TURN = 0.3
"""Seconds that a turn is timed for, at least; one run, at least."""

WARM_UP = {"cpu": 2, "cuda": 4}
"""Runs before the first turn; memory is measured in the last. CUDA graphs are recorded in the first three."""


class Started(NamedTuple):
    """answer    what candidates must agree on
    memory    peak of a run above what the process held once built, in MiB; None if unknown
    libraries module -> version
    blas      the linear algebra libraries in this process: name, architecture, threads
    device    in words; "" for the processor
    """

    answer: list[float]
    memory: float | None
    libraries: dict[str, str]
    blas: list[str]
    device: str


def main(name: str, words: str) -> None:
    first_victim()
    candidate, case = CANDIDATES[name], Case(*json.loads(words))
    program = candidate.build(problem(case), case)
    values, memory = warm_up(program, WARM_UP[case.device])
    libraries = {module: installed(module) for module in candidate.modules} | program.versions
    say(Started(values, memory, libraries, blas(), program.device)._asdict())
    seconds = 0.0
    for _ in sys.stdin:
        program.meter.rest()
        time.sleep(SETTLE)
        if seconds < SHORT:
            runs(program.call, TURN)
        seconds = statistics.median(runs(program.call, TURN))
        say(seconds)


def installed(module: str) -> str:
    """Its version; that of the distribution where the two have the same name, else what it says of itself."""
    try:
        return version(module)
    except PackageNotFoundError:
        return str(getattr(importlib.import_module(module), "__version__", "not installed"))


def runs(call: Callable[[], Any], least: float) -> list[float]:
    """Seconds of each of as many runs as take `least` seconds together."""
    seconds = [timed(call)]
    while sum(seconds) < least:
        seconds.append(timed(call))
    return seconds


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one run, without the time to free its result."""
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    del result
    return seconds


def warm_up(program: Program, times: int) -> tuple[list[float], float | None]:
    """The answer, and the peak memory of the last of so many runs above what was held before the first.

    What the first run leaves behind counts (compiled code, buffers that are kept), what compiling took
    by the way does not.
    """
    meter: Meter = program.meter
    before = meter.held()
    for _ in range(times - 1):
        program.call()
    meter.reset()
    result = program.call()
    peak = meter.peak()
    return answer(program, result), None if before is None else max(peak - before, 0.0)


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
