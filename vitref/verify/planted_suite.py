"""The property suite (`vitref.testing.suite`), run on the components that a mistake changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import numpy as np

from vitref.testing import suite
from vitref.verify.mistakes import Mistake, backend, edit

EXAMPLES = {"oracle": 60, "adjoint": 60}
"""Cases of Hypothesis for the properties that compare numbers: a mistake shows at nearly all of them, or in
one regime."""

FEW = 12
"""Cases for each other property."""


def broken(mistake: Mistake) -> set[str]:
    """`suite.CHECK` for each property that a changed component does not have; `suite` where it cannot
    take all the shapes that are drawn. Raises ConfigError when the mistake cannot be planted."""
    return set(_broken(mistake))


def _broken(mistake: Mistake) -> Iterator[str]:
    planted = backend(mistake)
    for name, edits in mistake.edits_with().items():
        if name in suite.COMPONENTS:
            part = edit.edited(name, edits)
            for check in suite.CHECKS:
                try:
                    with first_failure(EXAMPLES.get(check, FEW)), np.errstate(all="ignore"):
                        suite.verify(name, check, planted, part=part, reference=part)
                except AssertionError:
                    yield f"suite.{check}"
                except (ValueError, IndexError):
                    yield "suite"


@contextmanager
def first_failure(examples: int) -> Iterator[None]:
    """So many cases; Hypothesis stops at the first that fails: nobody reads it, so it need not be small."""
    before = hypothesis.settings()
    hypothesis.settings.register_profile(
        "first failure",
        before,
        phases=(hypothesis.Phase.generate,),
        report_multiple_bugs=False,
        database=None,
        deadline=None,
        derandomize=True,
        max_examples=examples,
    )
    hypothesis.settings.load_profile("first failure")
    try:
        yield
    finally:
        hypothesis.settings.register_profile("before", before)
        hypothesis.settings.load_profile("before")
