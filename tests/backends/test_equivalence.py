"""Whole random small models on every backend that is installed, against the reference in float64."""

import pytest

from vitref import backends
from vitref.testing.models import MODEL_CHECKS, verify_model

BACKENDS = [
    pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ()) for name in ("numpy", "numba", "cupy")
]
"""Those with kernels; `test_torch.py` and `test_jax.py` have the others."""


@pytest.mark.parametrize("check", MODEL_CHECKS)
@pytest.mark.parametrize("name", BACKENDS)
def test_models(name: str, check: str) -> None:
    if reason := backends.available()[name]:
        pytest.skip(reason)
    MODEL_CHECKS[check](backends.get(name))


@pytest.mark.parametrize("threads", [1, 3])
def test_models_on_a_team_that_shares_small_arrays(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from vitref.backends.numba_kernels import linear, rows

    monkeypatch.setattr(linear, "SMALL", 0)
    monkeypatch.setattr(rows, "SMALL", 0)
    for check in ("gradients", "batches"):
        verify_model(backends.get("numba", threads=threads), check, share=0.05)
