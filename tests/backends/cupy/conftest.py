"""A CuPy backend without a GPU: stand-ins for CuPy and cuBLASLt, and a cache folder of the test's own."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy.special  # type: ignore[import-untyped]

from tests.backends.cupy.stand_ins import Fake, FakeCublasLt
from vitref.backends.cupy_runtime import cublaslt, user_cache
from vitref.backends.cupy_runtime.device import CupyDevice


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(user_cache.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeCublasLt]:
    fake = FakeCublasLt()
    monkeypatch.setattr(cublaslt, "library", lambda: fake)
    cublaslt.plan.cache_clear()
    yield fake
    cublaslt.plan.cache_clear()


@pytest.fixture
def fake(library: FakeCublasLt, monkeypatch: pytest.MonkeyPatch) -> Fake:
    special = SimpleNamespace(erf=scipy.special.erf)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", special)
    return Fake()


@pytest.fixture
def device(fake: Fake) -> CupyDevice:
    return CupyDevice(fake.module, 0, tune=True)
