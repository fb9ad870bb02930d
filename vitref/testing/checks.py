"""The properties of a component, one function each; AssertionError says what does not hold."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vitref.array import NUMPY
from vitref.testing.cases import SPECS
from vitref.testing.derivative import complex_step, inner
from vitref.testing.invariants import INVARIANTS, Pass
from vitref.testing.problem import Problem, numbers
from vitref.testing.sizes import Sizes
from vitref.testing.structure import apply, arrays
from vitref.testing.subject import Subject
from vitref.testing.values import FLOATING, draw

Check = Callable[[Subject, Problem], None]


def shapes_and_dtypes(s: Subject, p: Problem) -> None:
    """y as documented; one gradient per argument, of its shape; everything in the dtype that came in."""
    y, grads = s.passes(p.args, p.static, p.dy)
    _same_form("y", y, p.dy)
    assert len(grads) == len(p.args), f"{len(grads)} gradients for {len(p.args)} arguments"
    for name, gradient, arg in zip(p.names, grads, p.args, strict=True):
        assert (gradient is None) == (arg is None), f"the gradient of {name} is {gradient!r}"
        _same_form(f"the gradient of {name}", gradient, arg)


def oracle(s: Subject, p: Problem) -> None:
    """y is what the component's oracle computes element by element."""
    y, _ = s.passes(p.args, p.static, p.dy, p.case.layout)
    close("y, beside the oracle,", p.exact(y), p.expected, p.sizes.y, p.tolerance())


def adjoint(s: Subject, p: Problem) -> None:
    """<dy, J v> = <J^T dy, v>, with J v by complex step, for each argument and all together."""
    _, grads = s.passes(p.args, p.static, p.dy)
    args, dy, static = p.exact(p.args), p.exact(p.dy), p.exact(p.static)
    rng = p.rng("direction")
    v = apply(lambda x: draw(x.shape, "plain", rng, "float64"), args)
    for chosen in (*((name,) for name in p.names), p.names):
        some = tuple(
            apply(np.zeros_like, x) if name not in chosen else x for name, x in zip(p.names, v, strict=True)
        )
        jv = complex_step(lambda a: p.reference.forward(*a, **static, xp=NUMPY)[0], args, some)
        forward, backward = inner(dy, jv), inner(p.exact(grads), some)
        rounding = sum(
            float(size * np.sum(np.abs(x)))
            for size, x in zip(arrays(p.sizes.grads), arrays(some), strict=True)
        )
        allowed = p.tolerance() * (forward.terms + backward.terms + rounding)
        _within(f"<dy, J v> - <J^T dy, v> for {', '.join(chosen)}", forward.value - backward.value, allowed)


def precision(s: Subject, p: Problem) -> None:
    """The numbers are those of the reference on NumPy in float64, up to rounding in this dtype."""
    y, grads = s.passes(p.args, p.static, p.dy, p.case.layout)
    args, dy, static = p.exact(p.args), p.exact(p.dy), p.exact(p.static)
    exact_y, saved = p.reference.forward(*args, **static, xp=NUMPY)
    exact = tuple(p.reference.backward(dy, saved, xp=NUMPY))
    close("y, beside float64,", p.exact(y), exact_y, p.sizes.y, p.tolerance())
    close("a gradient, beside float64,", p.exact(grads), exact, p.sizes.grads, p.tolerance())


def pure(s: Subject, p: Problem) -> None:
    """Arguments, dy, y and saved values stay as they are, and a second call gives the same bits."""
    args, static = s.to_device(p.args, p.case.layout), s.to_device(p.static)
    dy = s.to_device(p.dy, p.case.layout)
    y, saved = s.forward(args, static)
    identical("y of a second call", s.to_host(s.forward(args, static)[0]), s.to_host(y))
    before = s.to_host((args, static, y, saved, dy))
    grads = s.to_host(s.backward(dy, saved))
    identical("a gradient of a second call", s.to_host(s.backward(dy, saved)), grads)
    after = s.to_host((args, static, y, saved, dy))
    names = ("an argument", "a static argument", "y", "a saved value", "dy")
    for name, old, new in zip(names, before, after, strict=True):
        identical(f"{name} after backward", new, old)
    identical("an argument after forward", after[0], p.args)


def strided(s: Subject, p: Problem) -> None:
    """Arrays that are not contiguous give the same answer."""
    for layout in ("sliced", "transposed"):
        y, grads = s.passes(p.args, p.static, p.dy, layout)
        plain_y, plain = s.passes(p.args, p.static, p.dy)
        close(f"y from {layout} arrays", y, plain_y, p.sizes.y, p.tolerance())
        close(f"a gradient from {layout} arrays", grads, plain, p.sizes.grads, p.tolerance())


def linear_in_dy(s: Subject, p: Problem) -> None:
    """backward(2 dy + 3 dz) = 2 backward(dy) + 3 backward(dz)."""
    rng = p.rng("second dy")
    dz = apply(lambda x: draw(x.shape, "plain", rng, p.dy_dtype), p.dy)
    both = apply(lambda a, b: np.asarray(2 * a + 3 * b, p.dy_dtype), p.dy, dz)
    first, second, sums = (p.exact(s.passes(p.args, p.static, d)[1]) for d in (p.dy, dz, both))
    expected = apply(lambda a, b: 2 * a + 3 * b, first, second)
    size = apply(lambda a, b: 2 * a + 3 * b, p.sizes.grads, p.sizes_of(dz).grads)
    close("backward(2 dy + 3 dz)", sums, expected, size, p.tolerance())


def rows_independent(s: Subject, p: Problem) -> None:
    """Row 0 of y and of the inputs' gradients does not change when all other rows and their dy do."""
    mixes, rng, inputs = SPECS[p.case.component].mixes, p.rng("other rows"), p.args[: p.inputs]
    if mixes is None:
        return
    y, grads = s.passes(p.args, p.static, p.dy)
    for axis in range(min(x.ndim for x in inputs if x is not None) - mixes):
        first = (slice(None),) * axis + (0,)

        def others(x: Any, first: Any = first) -> Any:
            changed = draw(x.shape, "plain", rng, p.case.dtype)
            changed[first] = x[first]
            return changed

        args = (*apply(others, inputs), *p.args[p.inputs :])
        new_y, new = s.passes(args, p.static, apply(others, p.dy))
        taken = apply(lambda x, first=first: x[first], (y, new_y, grads[: p.inputs], new[: p.inputs]))
        close(f"row 0 of y on axis {axis}", taken[1], taken[0], p.sizes.y, p.tolerance())
        close("row 0 of a gradient", taken[3], taken[2], p.sizes.grads[: p.inputs], p.tolerance())


def invariants(s: Subject, p: Problem) -> None:
    """Every sentence under Invariants in the component's docstring."""
    args = dict(zip(p.names, p.args, strict=True))

    def again(dy: Any = p.dy, static: Any = None, **changed: Any) -> tuple[Any, dict[str, Any]]:
        now = apply(_rounded(p.case.dtype), {**args, **changed})
        now_dy, other = apply(_rounded(p.dy_dtype), (dy, static or {}))
        y, grads = s.passes(tuple(now.values()), {**p.static, **other}, now_dy)
        return p.exact(y), dict(zip(p.names, p.exact(grads), strict=True))

    y, grads = again()
    sizes = Sizes(p.sizes.y, dict(zip(p.names, p.sizes.grads, strict=True)))
    known = Pass(p.exact(args), p.exact(p.static), y, p.exact(p.dy), grads, sizes, again)
    for sentence, claim in INVARIANTS[p.case.component].items():
        for difference, size in claim(known):
            worst = float(np.max(np.abs(difference), initial=0.0))
            _within(sentence, worst, p.tolerance() * size)


def refusals(s: Subject, p: Problem) -> None:
    """Arguments of a wrong shape, and impossible static arguments, raise ValueError."""
    if s.is_kernel:
        return
    for wrong in SPECS[p.case.component].refused(p.case.arguments):
        args, static = numbers(p.case, wrong, len(p.names) - p.inputs)
        try:
            s.forward(s.to_device(args), s.to_device(static))
        except ValueError:
            continue
        raise AssertionError(f"no ValueError for {wrong}")


def _rounded(dtype: str) -> Callable[[Any], Any]:
    """Numbers to this dtype; integers as they are."""
    return lambda x: np.asarray(x, dtype) if x.dtype.kind in FLOATING else x


def _same_form(what: str, found: Any, expected: Any) -> None:
    for y, e in zip(arrays(found), arrays(expected), strict=True):
        assert y.shape == e.shape, f"{what} has shape {y.shape}, expected {e.shape}"
        assert y.dtype == e.dtype, f"{what} is {y.dtype}, expected {e.dtype}"


def identical(what: str, found: Any, expected: Any) -> None:
    _same_form(what, found, expected)
    for y, e in zip(arrays(found), arrays(expected), strict=True):
        assert y.tobytes() == e.tobytes(), f"{what} has changed"


def close(what: str, found: Any, expected: Any, size: Any, tolerance: float) -> None:
    for y, e, largest in zip(arrays(found), arrays(expected), arrays(size), strict=True):
        assert y.shape == e.shape, f"{what} has shape {y.shape}, expected {e.shape}"
        _within(what, float(np.max(np.abs(y - e))), tolerance * float(largest))


def _within(what: str, error: float, allowed: float) -> None:
    assert abs(error) <= allowed, f"{what} is off by {abs(error):.3g}; rounding explains {allowed:.3g}"


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        shapes_and_dtypes,
        oracle,
        adjoint,
        precision,
        pure,
        strided,
        linear_in_dy,
        rows_independent,
        invariants,
        refusals,
    )
}
