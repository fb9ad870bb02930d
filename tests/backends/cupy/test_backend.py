"""The CuPy backend as it is made, and what it says where it cannot run; on a stand-in for CuPy."""

import sys
from typing import Any

import pytest

from tests.backends.cupy.stand_ins import Fake
from vitref.backends import cupy_backend
from vitref.errors import BackendError


def created(monkeypatch: pytest.MonkeyPatch, fake: Fake | None, **options: Any) -> str:
    """What `create` says."""
    monkeypatch.setitem(sys.modules, "cupy", None if fake is None else fake.module)
    cupy_backend._backend.cache_clear()
    with pytest.raises(BackendError) as caught:
        cupy_backend.create(**options)
    return str(caught.value)


REASONS: dict[str, tuple[Fake | None, dict[str, Any], list[str]]] = {
    "no CuPy": (None, {}, ["CuPy missing", 'pip install "vitref[cuda13]"', "cuda12"]),
    "no driver": (Fake(failure=RuntimeError("insufficient"), driver=0), {}, ["no NVIDIA driver"]),
    "old driver": (
        Fake(failure=RuntimeError("insufficient"), driver=12020),
        {},
        ["a driver of CUDA 12.2", "13 or later", "vitref[cuda12]"],
    ),
    "CUDA's own reason": (Fake(failure=RuntimeError("no CUDA-capable device")), {}, ["no CUDA-capable"]),
    "no such GPU": (Fake(devices=2), {"device": 2}, ["GPU 2", "(0, 1)", "device"]),
    "no GPU visible": (Fake(devices=0), {}, ["no GPU is visible"]),
    "a negative number": (Fake(), {"device": -1}, ["GPU -1"]),
    "a name": (Fake(), {"device": "cuda:0"}, ["'cuda:0'"]),
    "graphs of a wrong type": (Fake(), {"graphs": "yes"}, ["'yes'"]),
}


@pytest.mark.parametrize("case", REASONS)
def test_it_says_why_it_cannot_run(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, options, parts = REASONS[case]
    said = created(monkeypatch, fake, **options)
    assert [part for part in parts if part not in said] == []


def test_a_backend_is_made_once(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake.module)
    cupy_backend._backend.cache_clear()
    backend = cupy_backend.create()
    assert cupy_backend.create(0, True) is backend
    assert cupy_backend.create(graphs=False).replay is None
    assert backend.precision == ("strict", "fp32x3", "tf32")
    assert set(backend.modes) == set(backend.precision)
    assert backend.versions["device"] == "Fake GPU, compute capability 9.0"
    assert backend.versions["driver"] == "13.0"
