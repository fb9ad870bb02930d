"""`vitref.backends.check`: a right backend passes, and each kind of wrong one is caught and named."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest

from vitref import backends
from vitref.array import NUMPY
from vitref.backends.interface import Backend
from vitref.components import softmax
from vitref.errors import BackendError
from vitref.testing import backend as checking
from vitref.testing import suite
from vitref.testing.backend import Failure
from vitref.testing.models import MODEL_CHECKS

RIGHT = backends.get("numpy")


def changed(**functions: Any) -> Backend:
    """The reference with other functions in its namespace."""
    return replace(RIGHT, name="changed", xp=SimpleNamespace(**{**vars(NUMPY), **functions}), kernels={})


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the properties, which suffice to notice what is planted here."""
    chosen = {name: suite.CHECKS[name] for name in ("oracle", "precision", "adjoint")}
    monkeypatch.setattr(suite, "CHECKS", chosen)
    monkeypatch.setattr(suite, "KERNEL_CHECKS", {})


@contextmanager
def unshrunk() -> Iterator[None]:
    """Hypothesis reports the first failing model as it is: that is enough here, and quick."""
    former = hypothesis.settings.get_current_profile_name()
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("unshrunk", hypothesis.settings(), phases=phases)
    hypothesis.settings.load_profile("unshrunk")
    yield
    hypothesis.settings.load_profile(former)


def softmax_kernel(factor: float, refused: str | None = None) -> Backend:
    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
        return (factor * softmax.backward(dy, saved, xp=xp).x,)

    kernel = SimpleNamespace(
        PARAMS=(),
        HIDES=(),
        ADDS=False,
        refuses=lambda x: refused,
        forward=lambda x, *, xp, ws, keep: softmax.forward(x, xp=xp),
        backward=backward,
    )
    return replace(RIGHT, name="kernel", kernels={"softmax": kernel})


def named(failures: list[Failure]) -> set[tuple[str, str]]:
    return {(failure.subject, failure.check) for failure in failures}


def test_the_reference_passes() -> None:
    assert backends.check("numpy", share=0.01) == []


@pytest.mark.usefixtures("few")
def test_a_wrong_function_is_found() -> None:
    failures = backends.check(changed(erf=lambda x: NUMPY.tanh(1.2 * x)), share=0.01)
    assert {("gelu", "oracle"), ("gelu", "precision"), ("gelu", "adjoint")} <= named(failures)
    assert {failure.subject for failure in failures} == {"gelu"}
    said = str(next(failure for failure in failures if failure.check == "oracle"))
    assert said.startswith("gelu, oracle: y, beside the oracle, is off by")
    assert "regime=" in said


@pytest.mark.usefixtures("few")
def test_a_function_of_lower_precision_is_found() -> None:
    def short(x: Any) -> Any:
        return np.exp(x.astype(np.float16)).astype(x.dtype)

    subjects = {failure.subject for failure in backends.check(changed(exp=short), share=0.01)}
    assert subjects == {"softmax", "gelu", "cross_entropy", "sigmoid_cross_entropy"}


@pytest.mark.usefixtures("few")
def test_a_wrong_kernel_is_found() -> None:
    found = named(backends.check(softmax_kernel(1.01), share=0.01))
    assert {("kernel softmax", "adjoint"), ("kernel softmax", "precision")} <= found
    assert {subject for subject, _ in found} == {"kernel softmax"}


@pytest.mark.usefixtures("few")
def test_a_kernel_that_refuses_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKS", {"adjoint": suite.CHECKS["adjoint"]})
    failures = backends.check(softmax_kernel(1.0, refused="not today"), share=0.01)
    assert {failure.subject for failure in failures} == {"kernel softmax"}
    assert all("nothing is tested" in failure.reason for failure in failures)


def test_what_only_a_whole_model_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """`to_host` gives the same memory again and again."""
    shared: dict[Any, Any] = {}

    def to_host(array: Any) -> Any:
        host = shared.setdefault((array.shape, array.dtype), np.empty_like(array))
        host[...] = array
        return host

    chosen = {name: MODEL_CHECKS[name] for name in ("repeatable", "own_results")}
    monkeypatch.setattr(checking, "MODEL_CHECKS", chosen)
    monkeypatch.setattr(checking, "part_tasks", lambda *arguments: iter(()))
    with unshrunk():
        found = named(backends.check(replace(RIGHT, to_host=to_host), share=0.01))
    assert ("models", "own_results") in found


def complex_host(array: Any) -> Any:
    return np.asarray(array, np.complex128)


def nudged(array: Any, dtype: str) -> Any:
    return np.nextafter(array.astype(dtype), 9).astype(dtype) if dtype == "float32" else array.astype(dtype)


def in_place(array: Any, dtype: str) -> Any:
    array += 0
    return array.astype(dtype)


BROKEN: dict[str, tuple[Backend, str, str]] = {
    "a function missing": (changed(erf=None), "vocabulary", "xp has no erf"),
    "a dtype unknown": (replace(RIGHT, dtypes=("float32", "float8")), "dtypes", "unknown dtypes: float8"),
    "no dtypes": (replace(RIGHT, dtypes=()), "dtypes", "no dtypes"),
    "no precision": (replace(RIGHT, precision=()), "dtypes", "no precision"),
    "another dtype": (
        replace(RIGHT, to_host=complex_host),
        "transfers",
        "comes back as (2, 3, 4), complex128",
    ),
    "a list": (replace(RIGHT, to_host=lambda x: x.tolist()), "transfers", "to_host gives a list"),
    "other numbers": (replace(RIGHT, from_host=nudged), "transfers", "comes back with other numbers"),
    "written to": (replace(RIGHT, from_host=in_place), "transfers", "ValueError: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_transfers_are_found_before_all_else(name: str) -> None:
    broken, check, reason = BROKEN[name]
    failures = backends.check(broken)
    assert ("backend", check) in named(failures)
    assert {failure.subject for failure in failures} == {"backend"}
    assert reason in next(failure.reason for failure in failures if failure.check == check)


def test_components_run_in_the_scope_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = []

    class Scope:
        def __enter__(self) -> None:
            inside.append(True)

        def __exit__(self, *error: object) -> None:
            inside.pop()

    def verify(*arguments: Any, **options: Any) -> None:
        assert inside

    monkeypatch.setattr(suite, "verify", verify)
    monkeypatch.setattr(checking, "MODEL_CHECKS", {})
    assert backends.check(replace(RIGHT, scope=Scope)) == []
    assert {f.subject for f in backends.check(RIGHT)} == set(suite.COMPONENTS)


def test_the_share_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def noted(*arguments: Any, share: float, **options: Any) -> None:
        shares.append(share)

    monkeypatch.setattr(suite, "verify", noted)
    monkeypatch.setattr(checking, "verify_model", noted)
    assert backends.check(changed(), share=0.37) == []
    assert set(shares) == {0.37}


def test_so_many_models_are_tried_that_every_kernel_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: dict[str, float] = {}

    def noted(backend: Backend, check: str, share: float) -> None:
        shares[check] = share

    monkeypatch.setattr(checking, "part_tasks", lambda *arguments: iter(()))
    monkeypatch.setattr(checking, "verify_model", noted)
    assert backends.check("numpy", share=0.01) == []
    assert shares.pop("kernels_run") == checking.EVERY_COMPONENT
    assert set(shares.values()) == {0.01}


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="one of numpy"):
        backends.check("none at all")


def test_without_hypothesis_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["hypothesis"] = None
from vitref import backends
try:
    backends.check("numpy")
except backends.BackendError as error:
    print(error.remedy)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == 'Install it with pip install "vitref[test]".'


@pytest.mark.parametrize("share", [0, -1, "x", True, None, 1000])
def test_a_share_that_tries_nothing_is_refused(share: Any) -> None:
    with pytest.raises(BackendError, match="share"):
        backends.check("numpy", share=share)
