"""Backends by name: what `get` gives and refuses, and what `available` says."""

from collections.abc import Mapping
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


@pytest.mark.parametrize("name", ["jax", "NumPy", "", None, 3, ["numpy"]])
def test_an_unknown_name_is_refused(name: Any) -> None:
    with pytest.raises(BackendError) as caught:
        backends.get(name)
    assert caught.value.where == "backend"
    assert caught.value.found == repr(name)
    assert "numpy" in caught.value.expected


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
