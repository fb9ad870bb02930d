"""Every kernel against the reference in float64: new random numbers in each run, the same bits each time."""

import functools
import os
import secrets

import numpy as np
import pytest

from tests.gpu.cases import FULL, SMALL, Case, Numbers, by_kernel, by_reference, cases, numbers
from tests.gpu.conftest import QUICK, STAND_IN, Note
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.testing import tolerance

pytestmark = pytest.mark.gpu

SIZES = SMALL if "1" in (os.environ.get(STAND_IN), os.environ.get(QUICK)) else FULL
SEED = int(os.environ.get("VITREF_GPU_SEED") or secrets.randbits(32))
"""Printed with every failure; set the variable to see it again."""

REPETITIONS = 20
TERMS = 4096
"""No sum in float32 is longer than the squares of this many rounding errors explain."""

MODES = [("float32", "strict"), ("float32", "fp32x3"), ("float32", "tf32")]
MODES += [("bfloat16", "strict"), ("float16", "strict")]
MULTIPLYING = ("attention_core", "block", "embed", "linear", "mlp", "patch_projection")


@functools.lru_cache(maxsize=4)
def known(case: int, dtype: str) -> tuple[Numbers, dict[str, HostArray]]:
    given = numbers(cases(SIZES)[case], dtype, SEED)
    return given, by_reference(cases(SIZES)[case], given)


def allowed(dtype: str, precision: str) -> float:
    """Sums are formed in float32; a TF32 operand keeps as many digits as float16."""
    if dtype != "float32":
        return tolerance(dtype)
    return tolerance("float16") if precision == "tf32" else tolerance("float32", TERMS)


def modes(case: Case) -> list[tuple[str, str]]:
    return [mode for mode in MODES if mode[1] == "strict" or case.component in MULTIPLYING]


RUNS = [(i, *mode) for i, case in enumerate(cases(SIZES)) for mode in modes(case)]


@pytest.mark.parametrize(
    ("number", "dtype", "precision"), RUNS, ids=[f"{cases(SIZES)[i]}-{d}-{p}" for i, d, p in RUNS]
)
def test_kernel(backend: Backend, note: Note, quick: bool, number: int, dtype: str, precision: str) -> None:
    case = cases(SIZES)[number]
    given, exact = known(number, dtype)
    found = by_kernel(case, given, backend, precision)
    assert found.keys() == exact.keys()
    errors = {name: relative(found[name], exact[name], given.dy) for name in exact}
    note(f"{case}-{dtype}-{precision}", max(errors.values()))
    too_large = {name: error for name, error in errors.items() if not error <= allowed(dtype, precision)}
    assert too_large == {}, f"VITREF_GPU_SEED={SEED}"
    for _ in range(2 if quick else REPETITIONS):
        again = by_kernel(case, given, backend, precision)
        changed = [name for name in found if again[name].tobytes() != found[name].tobytes()]
        assert changed == [], f"other bits in another run: {changed}, VITREF_GPU_SEED={SEED}"


def relative(found: HostArray, exact: HostArray, dy: HostArray) -> float:
    """L2 error relative to the L2 norm, to that of `dy` where the exact result is zero; infinite for NaN."""
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(found.astype("float64") - exact))
    error /= size if size > 1e-9 else float(np.linalg.norm(dy.astype("float64")))
    return error if np.isfinite(error) else float("inf")
