"""One candidate in its process: how often it runs in a turn, and what it says of itself."""

import sys
import time
import types
from importlib.metadata import version

import pytest

from vitref.benchmark import child


def test_a_turn_lasts_as_long_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "timed", lambda call: call())
    assert child.runs(lambda: 0.125, 0.3) == [0.125] * 3
    assert child.runs(lambda: 2.0, 0.3) == [2.0]


def test_the_time_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5.0, 7.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert child.timed(lambda: None) == 2.5


def test_versions_of_modules_whose_distribution_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("cupyish")
    monkeypatch.setitem(sys.modules, "cupyish", module)
    assert child.installed("numpy") == version("numpy")
    assert child.installed("cupyish") == "not installed"
    module.__version__ = "14.2"  # type: ignore[attr-defined]
    assert child.installed("cupyish") == "14.2"
