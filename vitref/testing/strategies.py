"""What Hypothesis draws: shapes, static arguments, layout and seed of a case.

Regime and dtype are not drawn: the suite takes every pair of them in turn. Hypothesis repeats parts of
earlier draws, and among a hundred cases of LayerNorm that it drew whole, one had an offset mean in
float32: a row of one element, which shows nothing.
"""

import importlib.util
from collections.abc import Callable
from typing import TypeVar

if importlib.util.find_spec("hypothesis") is None:
    raise ImportError('the property suite needs Hypothesis: pip install "vitref[test]"')

import hypothesis
from hypothesis import strategies as st

from vitref.testing.cases import SPECS
from vitref.testing.problem import Case
from vitref.testing.values import LAYOUTS

T = TypeVar("T")


@st.composite
def cases(draw: st.DrawFn, component: str, regime: str, dtype: str) -> Case:
    """Cases for this component, of this regime and dtype."""

    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    layout = LAYOUTS[size(0, len(LAYOUTS) - 1)]
    arguments = SPECS[component].arguments(size)
    return Case(component, arguments, regime, layout, dtype, seed=size(0, 2**32 - 1))


def for_all(strategy: st.SearchStrategy[T], holds: Callable[[T], None], share: float, seed: str) -> bool:
    """Call `holds` with a share of as many cases as the Hypothesis profile says.

    Where the profile draws the same cases each time (`derandomize`), they depend on `seed`. False when
    `holds` rejected every one of them, so that nothing is known.
    """
    examples = max(1, round(share * hypothesis.settings().max_examples))

    @hypothesis.settings(
        max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.filter_too_much]
    )
    @hypothesis.given(strategy)
    def test(case: T) -> None:
        holds(case)

    if hypothesis.settings().derandomize:
        test = hypothesis.seed(seed)(test)
    try:
        test()
    except hypothesis.errors.Unsatisfiable:
        return False
    return True


def reject() -> None:
    """This case is not one of those to be tested."""
    hypothesis.reject()
