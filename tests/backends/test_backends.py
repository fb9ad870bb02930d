"""Backends by name: what `get` gives and refuses, and what `available` says."""

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitref import backends
from vitref.array import NUMPY, VOCABULARY
from vitref.backends.interface import Backend
from vitref.errors import BackendError


def test_the_reference_is_there() -> None:
    backend = backends.get("numpy")
    assert isinstance(backend, Backend)
    assert backend.name == "numpy"
    assert backend.xp is NUMPY
    assert set(backend.kernels) == {"attention_core"}  # for long sequences; made of the components
    assert backends.available()["numpy"] is None


@pytest.mark.parametrize("name", list(backends.MODULES))
def test_every_backend_is_named_as_it_is_asked_for_or_says_why_not(name: str) -> None:
    reason = backends.available()[name]
    if reason is None:
        backend = backends.get(name)
        assert backend.name == name
        assert isinstance(backend.kernels, Mapping)
        assert [name for name in VOCABULARY if not callable(getattr(backend.xp, name, None))] == []
    else:
        with pytest.raises(BackendError) as caught:
            backends.get(name)
        assert str(caught.value) == reason


def test_a_backend_is_returned_as_it_is() -> None:
    backend = backends.get("numpy")
    assert backends.get(backend) is backend


@pytest.mark.parametrize("name", ["mlx", "NumPy", "", None, 3, ["numpy"]])
def test_an_unknown_name_is_refused(name: Any) -> None:
    with pytest.raises(BackendError) as caught:
        backends.get(name)
    assert caught.value.where == "backend"
    assert caught.value.found == repr(name)
    assert caught.value.expected == "one of numpy, numba, cupy, torch, jax"


@pytest.mark.parametrize(("name", "meant"), [("NumPy", "numpy"), ("cuda", None), ("pytorch", "torch")])
def test_a_close_name_is_proposed(name: str, meant: str | None) -> None:
    with pytest.raises(BackendError) as caught:
        backends.get(name)
    assert caught.value.remedy == (f"Did you mean {meant!r}?" if meant else "Name one of these.")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("numba", "numba", "numba"),
        ("cupy", "cupy", "cuda13"),
        ("torch", "torch", "torch"),
        ("torch", "array_api_compat", "torch"),
        ("jax", "jax", "jax"),
    ],
)
def test_a_missing_library_names_the_extra(name: str, module: str, extra: str) -> None:
    if module == "array_api_compat":
        pytest.importorskip("torch")
    code = f"""
import sys
sys.modules[{module!r}] = None
from vitref import backends
reason = backends.available()
assert reason["numpy"] is None
print(reason[{name!r}])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f'Install it with pip install "vitref[{extra}]"' in run.stdout
    assert module in run.stdout


def test_every_extra_exists() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(backends.EXTRAS.values()) <= set(project["project"]["optional-dependencies"])
    assert set(backends.EXTRAS) == set(backends.MODULES) - {"numpy"}


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("driver too old"), "Remove the cause, or use another backend."),
        (ImportError("no symbol"), 'Try pip install --upgrade "vitref[torch]".'),
    ],
)
def test_whatever_a_library_raises_is_the_reason(
    error: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(device: str = "cpu") -> Backend:
        raise error

    monkeypatch.setitem(sys.modules, backends.MODULES["torch"], SimpleNamespace(create=create))
    with pytest.raises(BackendError) as caught:
        backends.get("torch", device="cuda")
    assert caught.value.found == f"{type(error).__name__}: {error}"
    assert caught.value.remedy == remedy
    assert caught.value.__cause__ is error
    assert backends.available()["torch"] == str(caught.value)


@pytest.mark.parametrize("name", list(backends.MODULES))
def test_equal_options_give_the_same_backend(name: str) -> None:
    if reason := backends.available()[name]:
        pytest.skip(reason)
    assert backends.get(name) is backends.get(name)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(BackendError) as caught:
        backends.get("numpy", threads=4)
    assert caught.value.where == "backend numpy"
    assert "threads" in caught.value.found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_make_the_round_trip(dtype: str) -> None:
    backend = backends.get("numpy")
    array = np.arange(6.0).reshape(2, 3)
    there = backend.from_host(array, dtype)
    back = backend.to_host(there)
    assert there.dtype == back.dtype == dtype
    assert dtype in backend.dtypes
    np.testing.assert_array_equal(back, array)
    assert (there is array) == (dtype == "float64")


def test_options_beside_a_backend_object_are_refused() -> None:
    with pytest.raises(BackendError, match="threads=4"):
        backends.get(backends.get("numpy"), threads=4)
