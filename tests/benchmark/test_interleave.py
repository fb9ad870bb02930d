"""Candidates in turns: their order, what they answer, and what becomes of one that fails."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vitref.benchmark import interleave
from vitref.benchmark.case import Case
from vitref.benchmark.interleave import Left, Stopped

SMALL = Case("ViT-Ti/16", 1, "float32", "forward", depth=1)
NAMES = ["vitref-numpy", "torch", "jax"]


class Fake:
    """A child that answers `logits`, then runs for 1, 2, ... seconds; it ends in turn `last`."""

    def __init__(self, log: list[str], name: str, logits: list[float], last: int = 99) -> None:
        self.log, self.name, self.logits, self.last, self.turns = log, name, logits, last, 0

    def hear(self) -> dict[str, Any]:
        return {"answer": self.logits, "memory": 5.0, "libraries": {}, "blas": [], "device": ""}

    def go(self) -> float:
        self.turns += 1
        if self.turns > self.last:
            raise Stopped("it broke", failed=True)
        self.log.append(self.name)
        return float(self.turns)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> dict[str, Fake]:
    found = {name: Fake(log, name, [1.0, 2.0]) for name in NAMES}

    @contextmanager
    def start(name: str, case: Case) -> Iterator[Fake]:
        try:
            yield found[name]
        finally:
            log.append(f"{name} ends")

    monkeypatch.setattr(interleave, "start", start)
    return found


def test_rounds_go_round(children: dict[str, Fake], log: list[str]) -> None:
    measured, left = interleave.measure(SMALL, NAMES, 2)
    assert log[:6] == NAMES * 2
    assert sorted(log[6:]) == sorted(f"{name} ends" for name in NAMES)
    assert [(m.candidate, m.seconds) for m in measured] == [(name, [1.0, 2.0]) for name in NAMES]
    assert left == []


def test_one_that_breaks_is_left_out_and_the_others_go_on(children: dict[str, Fake]) -> None:
    children["torch"].last = 1
    measured, left = interleave.measure(SMALL, NAMES, 3)
    assert [m.candidate for m in measured] == ["vitref-numpy", "jax"]
    assert [len(m.seconds) for m in measured] == [3, 3]
    assert left == [Left("torch", "it broke", True)]


def test_one_that_computes_something_else_is_ended_at_once(children: dict[str, Fake], log: list[str]) -> None:
    children["torch"].logits = [1.0, 2.1]
    measured, (left,) = interleave.measure(SMALL, NAMES, 1)
    assert [m.candidate for m in measured] == ["vitref-numpy", "jax"]
    assert left.candidate == "torch"
    assert left.failed
    assert "differs from vitref-numpy's" in left.reason
    assert log.index("torch ends") < log.index("jax")


def test_answers_are_compared_with_the_first_that_has_one(children: dict[str, Fake]) -> None:
    children["vitref-numpy"].logits = []
    children["jax"].logits = [2.0, 1.0]
    measured, (left,) = interleave.measure(SMALL, NAMES, 1)
    assert [m.candidate for m in measured] == ["vitref-numpy", "torch"]
    assert "differs from torch's" in left.reason


def test_what_cannot_run_a_case_takes_no_part(children: dict[str, Fake]) -> None:
    measured, left = interleave.measure(SMALL._replace(precision="tf32"), NAMES, 1)
    assert (measured, left) == ([], [])


def test_progress_counts_every_step_of_every_candidate(children: dict[str, Fake]) -> None:
    steps: list[None] = []
    interleave.measure(SMALL, [*NAMES, "timm"], 2, lambda: steps.append(None))
    assert len(steps) == 12


@pytest.mark.parametrize(
    ("code", "failed", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", False, "want of memory"),
        ("raise MemoryError('no room')", False, "no room"),
        ("raise ValueError('wrong')", True, "ValueError: wrong"),
        ("raise SystemExit(3)", True, "no message (exit code 3)"),
    ],
)
def test_the_end_of_a_child_is_explained(
    code: str, failed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **given: real([command[0], "-c", code], **given))
    _, (left,) = interleave.measure(SMALL, ["vitref-numpy"], 1)
    assert said in left.reason
    assert left.failed is failed


def test_the_last_words_are_the_exception() -> None:
    errors = "Traceback\n  File x\ntorch.OutOfMemoryError: CUDA out of memory\n\nSet FOO=1 for more\n"
    assert interleave.last_words(errors) == "torch.OutOfMemoryError: CUDA out of memory"
    assert interleave.last_words("some\nwords\n") == "words"
    assert interleave.last_words("") == "no message"


def test_the_environment_of_a_child_pins_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    found = interleave.environment()
    assert "OPENBLAS_CORETYPE" not in found
    assert found["OPENBLAS_NUM_THREADS"] == "1"
