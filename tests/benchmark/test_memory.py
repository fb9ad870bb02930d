"""Peak memory, and whether a case fits."""

import numpy as np
import pytest

from vitref.benchmark import interleave, memory
from vitref.benchmark.candidates import CANDIDATES
from vitref.benchmark.case import Case
from vitref.benchmark.child import warm_up
from vitref.benchmark.memory import HOST, Meter
from vitref.benchmark.program import Program

TRAINING = Case("ViT-B/16", 8, "float32", "backward")


@pytest.mark.skipif(HOST.held() is None, reason="no /proc/self/clear_refs")
def test_the_peak_is_what_was_held_for_a_moment() -> None:
    before = HOST.held()
    assert before is not None
    HOST.reset()
    np.ones(2**24).sum()
    assert HOST.peak() - before == pytest.approx(128, abs=16)
    HOST.reset()
    assert HOST.peak() - before < 64


def test_memory_is_that_of_the_last_run_above_the_built_program() -> None:
    """The first run takes 50 by the way, and leaves 7 behind; every run takes 3."""
    now, most = 100.0, 0.0

    def call() -> None:
        nonlocal now, most
        most = max(most, now + 50 if now == 100 else now + 3)
        now = 107

    def reset() -> None:
        nonlocal most
        most = now

    program = Program(call, meter=Meter(lambda: now, reset, lambda: most))
    assert warm_up(program, 2) == ([], 10.0)
    assert warm_up(Program(call, meter=Meter(lambda: None, reset, lambda: most)), 2)[1] is None


@pytest.mark.parametrize(("name", "measured"), [("torch", 1137), ("jax", 2489), ("vitref-numpy", 1427)])
def test_what_is_needed_is_rather_too_much(name: str, measured: float) -> None:
    """Measured peaks of ViT-B/16 at 8 pictures, gradients included."""
    assert measured < CANDIDATES[name].need(TRAINING) < 2.5 * measured + 1000


def test_whole_attention_matrices_are_quadratic_in_tokens() -> None:
    large = Case("ViT-B/16", 1, "float32", "forward", image_size=1024, depth=1)
    matrices = 12 * 4097**2 * 4 / memory.MIB
    jax, numba = CANDIDATES["jax"].need(large), CANDIDATES["vitref-numba"].need(large)
    assert jax - numba == pytest.approx(2 * matrices)
    assert CANDIDATES["vitref-numba"].need(large._replace(image_size=512)) > 0.25 * numba


def test_what_does_not_fit_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "available", lambda: 1000.0)
    shortage = interleave.too_little_memory("torch", TRAINING)
    assert shortage is not None
    assert "the machine has 1,000 MiB" in shortage
    monkeypatch.setattr(interleave, "available", lambda: 1e6)
    assert interleave.too_little_memory("torch", TRAINING) is None
    monkeypatch.setattr(interleave, "available", lambda: None)
    assert interleave.too_little_memory("torch", TRAINING) is None
