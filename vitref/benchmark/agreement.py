"""Whether two candidates compute the same: times of different computations cannot be compared."""

import math
from collections.abc import Sequence

import numpy as np

from vitref.benchmark.case import Case
from vitref.testing.tolerance import tolerance


def allowed(case: Case) -> float:
    """The relative L2 difference of two answers that rounding explains.

    Whole float32 and float64: the products of every block are sums of at most `mlp_width` terms. Where
    products or activations are rounded to fewer bits and summed in float32, it is those roundings, one
    after another in every block. TF32 rounds to as many bits as float16.
    """
    config = case.config
    if case.dtype == "float32" and case.precision == "tf32":
        return tolerance("float16", config.depth)
    if case.dtype in ("float64", "float32"):
        return tolerance(case.dtype, config.depth * max(config.mlp_width, config.width))
    return tolerance(case.dtype, config.depth)


def difference(expected: Sequence[float], found: Sequence[float]) -> float:
    """Relative L2; infinite for answers of different sizes."""
    a, b = np.array(expected), np.array(found)
    if a.shape != b.shape:
        return math.inf
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def complaint(case: Case, first: str, expected: Sequence[float], found: Sequence[float]) -> str | None:
    """In which way an answer differs from that of `first` by more than rounding; None when it does not.

    A candidate that computes no model has no answer, and nothing to complain of.
    """
    if not found or not expected:
        return None
    apart, limit = difference(expected, found), allowed(case)
    if apart <= limit:
        return None
    return f"its answer differs from {first}'s by {apart:.1e} (relative L2; at most {limit:.1e} is rounding)"
