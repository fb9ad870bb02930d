"""How far an implementation may be from a vector's numbers, in each precision, and why.

An error is |found - expected|, the largest over the elements of an array. It may be as large as the array's
size times what rounding explains. The size is measured (see `vitref.testing.sizes` for components and
`vitref.testing.rounding` for models): the largest element, or how far it moves when everything that
is rounded on the way changes by one part in one, whichever is larger.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_UP, Context
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.testing import tolerance
from vitref.testing.tolerance import ROUNDING, STEPS
from vitref.weights.container import known_dtype

LARGEST = {"float16": 65504 / 8}
"""Results of a format may be this large at most, so that what comes before them still fits."""

DERIVATION = (
    "An implementation passes in a precision when |found - expected| <= tolerance for every element of every "
    f"array. In float64 and float32 tolerance = size x {STEPS} u sqrt(n): u is half of machine epsilon, n "
    "the number of elements of the vector's largest array, which no sum exceeds; the errors of a sum's "
    f"additions differ in sign, and a result passes at most {STEPS} roundings one after the other. In "
    "bfloat16 and float16, where what is stored has this format and sums are at least float32, tolerance = "
    f"size x ({STEPS} u + {STEPS} u32 sqrt(n)). size is measured: the largest element of the array, or how "
    "far it moves, to first order, when inputs, saved values and terms that cancel all change at random by "
    "relative amounts of deviation 1, whichever is larger. Of pictures, 1.5 of 255 grey levels: each of two "
    "passes of a resize may round to whole ones. Inputs are exact in every precision for which a vector has "
    "a tolerance. Tolerances are rounded up to two digits."
)


def tolerances(
    sizes: Mapping[str, float], precisions: Iterable[str], terms: int
) -> dict[str, dict[str, float]]:
    """Name of an output -> precision -> the largest allowed error."""
    bounds = {name: bound(name, terms) for name in precisions}
    return {out: {p: rounded_up(size * b) for p, b in bounds.items()} for out, size in sizes.items()}


def bound(precision: str, terms: int) -> float:
    """What rounding explains, relative to the size."""
    if precision in ("float64", "float32"):
        return tolerance(precision, terms)
    return tolerance(precision) + tolerance("float32", terms)


def exact_in(arrays: Iterable[HostArray], largest: float, candidates: Iterable[str] = ROUNDING) -> list[str]:
    """The precisions in which all these arrays are exact and results up to `largest` fit, finest first."""
    given = [array for array in arrays if array.dtype.kind == "f"]
    return [
        name
        for name in candidates
        if largest <= LARGEST.get(name, np.inf) and all(_holds(array, known_dtype(name)) for array in given)
    ]


def coarsest(errors: Iterable[tuple[str, float]], allowed: Mapping[str, Mapping[str, float]]) -> str:
    """The coarsest precision in which one of these errors is larger than allowed; "" for none.

    errors  output or gradient, and |found - expected|; no more of them are asked for than are needed
    """
    unseen = list(next(iter(allowed.values()), {}))
    seen: list[str] = []
    for name, error in errors:
        seen += [precision for precision in unseen if not error <= allowed[name][precision]]
        unseen = [precision for precision in unseen if precision not in seen]
        if not unseen:
            break
    return max(seen, key=lambda name: ROUNDING[name], default="")


def rounded_up(value: float) -> float:
    """Two significant digits, not below `value`: last bits, which differ between machines, are gone."""
    return float(Context(prec=2, rounding=ROUND_UP).create_decimal(repr(float(value))))


def difference(found: Any, expected: HostArray) -> float:
    """The largest |found - expected|; infinite for another shape, or none at all."""
    if found is None or np.shape(found) != expected.shape:
        return float("inf")
    return float(np.max(np.abs(np.asarray(found, np.float64) - expected), initial=0.0))


def _holds(array: HostArray, dtype: np.dtype[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(dtype).astype(np.float64), array))
