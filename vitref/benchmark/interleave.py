"""The candidates of a case in turns: A B C A B C, so that whatever else the machine does hits all alike."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple

import numpy as np

from vitref.benchmark.candidates import CANDIDATES
from vitref.benchmark.case import Case
from vitref.errors import BackendError

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables that would pin OpenBLAS to kernels for another processor."""

TOLERANCE = 1e-4
"""Largest relative difference of two answers: float32, and another order of sums."""


class Measured(NamedTuple):
    """One candidate at one case: what `vitref.benchmark.child.Started` says, and seconds of each round."""

    candidate: str
    seconds: list[float]
    memory: float | None
    libraries: dict[str, str]
    blas: list[str]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Child(NamedTuple):
    """A running candidate."""

    candidate: str
    process: subprocess.Popen[str]
    errors: IO[str]

    def hear(self) -> Any:
        """The next line that it says; raises BackendError when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        raise BackendError(
            f"benchmark of {self.candidate}",
            found=(self.errors.read().strip().splitlines() or ["no message"])[-1],
            expected=f"a process that runs; its exit code is {self.process.returncode}",
            remedy="Leave it out with --peers, or repair its installation.",
        )

    def go(self) -> float:
        """Seconds of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.hear())


def environment() -> dict[str, str]:
    """That of a child: OpenBLAS is left to find out which processor it runs on."""
    return {name: value for name, value in os.environ.items() if name not in UNSET}


@contextmanager
def start(candidate: str, case: Case) -> Iterator[Child]:
    command = [sys.executable, "-P", "-m", "vitref.benchmark.child", candidate, json.dumps(case)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, env=environment(), stdin=pipe, stdout=pipe, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield Child(candidate, process, errors)
        finally:
            process.kill()


def measure(
    case: Case, names: Sequence[str], rounds: int, advance: Callable[[], None] = lambda: None
) -> list[Measured]:
    """The candidates that can run `case`; `advance` is called `rounds` + 1 times for each of `names`.

    Raises BackendError when a candidate fails, or disagrees with the first one.
    """
    with ExitStack() as stack:
        children, started = [], []
        for name in names:
            if CANDIDATES[name].runs(case):
                children.append(stack.enter_context(start(name, case)))
                started.append(children[-1].hear())
                agree(case, names[0], started[0]["answer"], name, started[-1]["answer"])
            advance()
        seconds: list[list[float]] = [[] for _ in children]
        for _ in range(rounds):
            for child, mine in zip(children, seconds, strict=True):
                mine.append(child.go())
            for _ in names:
                advance()
    return [
        Measured(child.candidate, mine, s["memory"], s["libraries"], s["blas"])
        for child, mine, s in zip(children, seconds, started, strict=True)
    ]


def agree(case: Case, first: str, expected: list[float], name: str, found: list[float]) -> None:
    """Raise BackendError when two candidates do not compute the same."""
    a, b = np.array(expected), np.array(found)
    difference = float(np.linalg.norm(a - b) / np.linalg.norm(a)) if a.shape == b.shape else float("inf")
    if not difference <= TOLERANCE:
        raise BackendError(
            f"benchmark of {name}, {case.model} {case.dtype} {case.direction}",
            found=f"an answer that differs from {first}'s by {difference:.1e} (relative L2)",
            expected=f"at most {TOLERANCE}",
            remedy="Leave it out with --peers: times of different computations cannot be compared.",
        )
