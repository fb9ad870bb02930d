"""The property suite: what must hold for every component, on every backend. Needs Hypothesis.

    @pytest.mark.parametrize("check", suite.CHECKS)
    @pytest.mark.parametrize("component", suite.COMPONENTS)
    def test_component(component, check):
        suite.verify(component, check, backend)

`vitref.testing.checks` holds the properties, `vitref.testing.kernel_checks` what a kernel must have
besides, `vitref.testing.cases` the inputs.
"""

import importlib

from vitref.backends.interface import Backend
from vitref.run import Part
from vitref.testing.cases import SPECS
from vitref.testing.checks import CHECKS
from vitref.testing.kernel_checks import KERNEL_CHECKS
from vitref.testing.problem import Case, problem
from vitref.testing.strategies import cases, for_all, reject
from vitref.testing.subject import Subject

__all__ = ["CHECKS", "COMPONENTS", "KERNEL_CHECKS", "verify"]

COMPONENTS = tuple(SPECS)


def verify(
    component: str,
    check: str,
    backend: Backend,
    *,
    part: Part | None = None,
    reference: Part | None = None,
    share: float = 1,
) -> None:
    """Try to find a case in which this property does not hold: then AssertionError, with the case.

    `check` is one of `CHECKS`; for a kernel also one of `KERNEL_CHECKS`, which all else has trivially.
    `part` stands in for the component: a kernel, or an implementation of one's own. `reference` is
    what complex step goes through and what defines the right numbers on NumPy in float64: vitref's own
    component, unless given. `share` of the Hypothesis profile's number of cases is tried, in equal
    parts for every regime in every dtype of the backend.
    """
    reference = reference or importlib.import_module(f"vitref.components.{component}")
    subject, checks = Subject(part or reference, backend), CHECKS | KERNEL_CHECKS

    def holds(case: Case) -> None:
        posed = problem(case, reference)
        refused = subject.is_kernel and subject.part.refuses(*posed.args[: posed.inputs], **posed.static)
        if refused or not posed.in_range():
            reject()
        with backend.scope():
            checks[check](subject, posed)

    strata = [(regime, dtype) for dtype in backend.dtypes for regime in SPECS[component].regimes]
    part_of_it = share / len(strata)
    tried = [for_all(cases(component, *s), holds, part_of_it, f"{component} {s}") for s in strata]
    assert any(tried), f"nothing is tested: the kernel refuses every case of {component}"
