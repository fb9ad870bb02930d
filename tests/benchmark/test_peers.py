"""The peers compute what vitref computes: each in a child process of its own, where it is installed."""

import importlib.util
from typing import Any

import numpy as np
import pytest

from vitref.benchmark import agreement, cuda, interleave, timm_cuda
from vitref.benchmark.candidates import CANDIDATES, PEERS
from vitref.benchmark.case import PASSES, Case, problem
from vitref.benchmark.memory import HOST
from vitref.benchmark.program import answer

pytestmark = pytest.mark.peers

ON_CPU = [name for name, peer in PEERS.items() if peer.device == "cpu"]


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["vitref-numba", *ON_CPU])
def test_candidates_compute_the_same(name: str, dtype: str, direction: str) -> None:
    case = Case("ViT-Ti/16", 2, dtype, direction)
    candidate = CANDIDATES[name]
    if missing := candidate.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not candidate.runs(case):
        pytest.skip(f"{name} has no {dtype} {direction} pass here: it runs exported float32 inference alone")
    measured, left = interleave.measure(case, ["vitref-numpy", name], 1)
    assert left == []
    assert [m.candidate for m in measured] == ["vitref-numpy", name]


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize(("dtype", "autocast"), [("float32", False), ("bfloat16", False), ("bfloat16", True)])
def test_timm_computes_the_same(
    dtype: str, autocast: bool, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `timm_cuda` does on a device, on the processor."""
    if missing := [name for name in ("torch", "timm") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    monkeypatch.setattr(cuda, "synchronised_torch", lambda torch, call: call)
    monkeypatch.setattr(cuda, "torch_meter", lambda torch: HOST)
    monkeypatch.setattr(cuda, "describe_torch", lambda torch: "")
    case = Case("ViT-Ti/16", 2, dtype, direction, image_size=64, depth=3)
    own, theirs = CANDIDATES["vitref-numpy"], timm_cuda.build(None, autocast=autocast, on="cpu")
    exact = case._replace(dtype="float32")
    expected = results(own.build, exact)
    apart = agreement.difference(expected, results(theirs, case))
    assert apart <= agreement.allowed(case)
    assert np.linalg.norm(expected) > 0


def results(build: Any, case: Case) -> list[float]:
    program = build(problem(case), case)
    return answer(program, program.call())
