"""exp and the normal distribution for compiled loops: float32 such that LLVM vectorises it, float64 by libm.

exponential(x)  exp x; float32: within 1.1 units in the last place, and exp(-87) below -87
cumulative(x, density)  the normal distribution P(X <= x), from exp(-x^2 / 2)

NaN gives NaN. Constants are minimax fits in float64, by relative error: exp on [-log(2)/2, log(2)/2], and
P(X > x) exp(x^2 / 2) for x from 0 to 13.6 as the quotient of two polynomials whose coefficients are all
positive, so that nothing cancels: 3.1e-9 and 5.2e-9.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = numba.types
ir: Any = importlib.import_module("llvmlite.ir")
intrinsic: Callable[[Any], Any] = numba.extending.intrinsic
overload: Callable[..., Callable[[Any], Any]] = numba.extending.overload

Function = TypeVar("Function", bound=Callable[..., Any])


def plain(function: Function) -> Function:
    """Compiled at the first call for each dtype; a product and a sum that it enters may be one operation."""
    return _compiled(function, {"contract", "nsz"})


def with_sums(function: Function) -> Function:
    """As `plain`, but additions in any order, so that a sum is made in several lanes."""
    return _compiled(function, {"contract", "nsz", "reassoc"})


def _compiled(function: Function, fastmath: set[str]) -> Function:
    """Without the interpreter's lock, and kept in Numba's cache where there is a folder for it."""
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    made: Function
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        made = numba.njit(**options)(function)
    return made


F = np.float32
LOWEST = F(-87.0)
LOG2_E, LOG_2_HIGH, LOG_2_LOW = F(1.44269504), F(0.693359375), F(-2.12194440e-4)
ROUND = F(12582912.0)
"""1.5 * 2^23: after its addition the low bits of the sum are the nearest whole number."""
E2, E3, E4, E5, E6 = F(0.49999993412), F(0.16666520107), F(0.04166839422), F(0.00836878053), F(0.0013814467)

FARTHEST = F(13.0)
"""exp(-x^2 / 2) is about 1e-37 here."""
P0, P1, P2, P3, P4 = F(0.5), F(0.43637220071), F(0.18181256544), F(0.040154103328), F(0.0040452791792)
Q1, Q2, Q3, Q4, Q5 = (
    F(1.6706293361),
    F(1.1965901841),
    F(0.4657153025),
    F(0.10065853743),
    F(0.010139874439),
)


@intrinsic
def _as_integer(typing: Any, x: Any) -> Any:
    """The bits of a float32 as int32."""
    return types.int32(types.float32), lambda ctx, b, sig, a: b.bitcast(a[0], ir.IntType(32))


@intrinsic
def _as_float(typing: Any, i: Any) -> Any:
    return types.float32(types.int32), lambda ctx, b, sig, a: b.bitcast(a[0], ir.FloatType())


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger of two numbers of one dtype; NaN when either is. Python's `max` does not vectorise."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = values[0].type
        kind = ir.FunctionType(number, [number, number])
        function = builder.module.declare_intrinsic("llvm.maximum", [number], kind)
        return builder.call(function, values, fastmath=("nsz",))

    return a(a, b), generate


@plain
def _exponential32(x: Any) -> Any:
    """exp x for x <= 88: 2^n in the exponent's bits, times a polynomial in what remains."""
    x = LOWEST if x < LOWEST else x
    shifted = x * LOG2_E + ROUND
    n = shifted - ROUND
    r = x - n * LOG_2_HIGH
    r = r - n * LOG_2_LOW
    e = F(1) + r * (F(1) + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))))
    return e * _as_float((_as_integer(shifted) << np.int32(23)) + np.int32(127 << 23))


@plain
def _cumulative32(x: Any, density: Any) -> Any:
    a = abs(x)
    a = FARTHEST if a > FARTHEST else a
    p = P0 + a * (P1 + a * (P2 + a * (P3 + a * P4)))
    q = F(1) + a * (Q1 + a * (Q2 + a * (Q3 + a * (Q4 + a * Q5))))
    tail = density * (p / q)
    return F(1) - tail if x > F(0) else tail


def exponential(x: Any) -> Any:
    """exp x in the dtype of x; float32 only up to x = 88. For compiled code."""
    raise NotImplementedError("only inside compiled functions")


def cumulative(x: Any, density: Any) -> Any:
    """P(X <= x) of a standard normal X, given density = exp(-x^2 / 2). For compiled code."""
    raise NotImplementedError("only inside compiled functions")


@overload(exponential, strict=False)
def _exponential(x: Any) -> Any:
    if x == types.float32:
        return lambda x: _exponential32(x)
    return lambda x: math.exp(x)


@overload(cumulative, strict=False)
def _cumulative(x: Any, density: Any) -> Any:
    if x == types.float32:
        return lambda x, density: _cumulative32(x, density)
    return lambda x, density: 0.5 * (1 + math.erf(x * math.sqrt(0.5)))
