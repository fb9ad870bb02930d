"""The candidates of a case in turns: A B C A B C, so that whatever else the machine does hits all alike."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, NamedTuple

from vitref.benchmark.agreement import complaint
from vitref.benchmark.candidates import CANDIDATES
from vitref.benchmark.case import Case
from vitref.benchmark.memory import available

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables that would pin OpenBLAS to kernels for another processor."""

KILLED = -9
"""Exit code of a process that the system ended: where memory runs out, these are the first."""

EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")
"""The line of a traceback that says what happened."""


class Measured(NamedTuple):
    """One candidate at one case: what `vitref.benchmark.child.Started` says, and seconds of each round."""

    candidate: str
    seconds: list[float]
    memory: float | None
    libraries: dict[str, str]
    blas: list[str]
    device: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Left(NamedTuple):
    """A candidate that could not be measured at a case; `failed`: not for want of memory."""

    candidate: str
    reason: str
    failed: bool


class Outcome(NamedTuple):
    """What came of one case, in the order in which the candidates were given."""

    measured: list[Measured]
    left: list[Left]


class Stopped(Exception):
    """A candidate that cannot be measured: why, and whether for another reason than memory."""

    def __init__(self, reason: str, *, failed: bool) -> None:
        super().__init__(reason)
        self.reason, self.failed = reason, failed


class Child(NamedTuple):
    """A running candidate."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def hear(self) -> Any:
        """The next line that it says; raises Stopped when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        if self.process.wait() == KILLED:
            raise Stopped("ended by the system, most likely for want of memory", failed=False)
        self.errors.seek(0)
        said = last_words(self.errors.read())
        raise Stopped(f"{said} (exit code {self.process.returncode})", failed="memory" not in said.lower())

    def go(self) -> float:
        """Seconds of one run."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        return float(self.hear())


def last_words(errors: str) -> str:
    """The line that says what happened."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return (exceptions or lines or ["no message"])[-1]


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
            yield Child(process, errors)
        finally:
            process.kill()


class Turns:
    """The children of one case, while they run."""

    def __init__(self, case: Case, stack: ExitStack) -> None:
        self.case, self._stack = case, stack
        self.running: dict[str, tuple[Child, dict[str, Any]]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.left: list[Left] = []

    def enter(self, name: str) -> None:
        """Start it, unless memory is too short for it, and compare its answer with that of the first."""
        with self._left_when_stopped(name), ExitStack() as own:
            if shortage := too_little_memory(name, self.case):
                raise Stopped(shortage, failed=False)
            child = own.enter_context(start(name, self.case))
            started = child.hear()
            if wrong := self._complaint(started["answer"]):
                raise Stopped(wrong, failed=True)
            self._stack.enter_context(own.pop_all())
            self.running[name], self.seconds[name] = (child, started), []

    def go(self, name: str) -> None:
        if name in self.running:
            with self._left_when_stopped(name):
                self.seconds[name].append(self.running[name][0].go())

    def _complaint(self, answer: list[float]) -> str | None:
        for first, (_, started) in self.running.items():
            if started["answer"]:
                return complaint(self.case, first, started["answer"], answer)
        return None

    @contextmanager
    def _left_when_stopped(self, name: str) -> Iterator[None]:
        try:
            yield
        except Stopped as stopped:
            self.running.pop(name, None)
            self.left.append(Left(name, stopped.reason, stopped.failed))

    def outcome(self) -> Outcome:
        measured = [
            Measured(name, self.seconds[name], s["memory"], s["libraries"], s["blas"], s["device"])
            for name, (_, s) in self.running.items()
        ]
        return Outcome(measured, self.left)


def measure(
    case: Case, names: Sequence[str], rounds: int, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The candidates that can run `case`; `advance` is called `rounds` + 1 times for each of `names`."""
    with ExitStack() as stack:
        turns = Turns(case, stack)
        for name in names:
            if CANDIDATES[name].runs(case):
                turns.enter(name)
            advance()
        for _ in range(rounds):
            for name in names:
                turns.go(name)
                advance()
        return turns.outcome()


def too_little_memory(name: str, case: Case) -> str | None:
    """Why a candidate on the processor does not fit into what the machine has left; None when it does."""
    left = available()
    need = CANDIDATES[name].need(case)
    if case.device != "cpu" or left is None or need <= left:
        return None
    return f"needs about {need:,.0f} MiB; the machine has {left:,.0f} MiB left beside the others"
