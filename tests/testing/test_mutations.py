"""The suite notices wrong layers: each mistake below, put in the place of a component, fails its checks.

Many mistakes are made forward and backward alike, so that the gradient is right for the wrong function:
no adjoint test can see those, and a test below asserts that it does not. A mistake that raises no error
only where two lengths are equal is made only there.
"""

from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

from tests.testing.mistakes import (
    activation,
    attention,
    dropping,
    linear_layers,
    normalisation,
    programs,
    softmax,
    tokens,
)
from tests.testing.mistakes.mistake import Mistake
from vitref import backends
from vitref.components import layer_norm
from vitref.run import title
from vitref.testing import suite

FAMILIES = (normalisation, softmax, attention, activation, linear_layers, tokens, dropping, programs)
MISTAKES = [mistake for family in FAMILIES for mistake in family.MISTAKES]
NOTICED = [(mistake, check) for mistake in MISTAKES for check in mistake.noticed]
CONSISTENT = [mistake for mistake in MISTAKES if mistake.forward and mistake.backward]


@pytest.fixture
def first_failure() -> Iterator[None]:
    """Hypothesis stops at the first case that fails; nobody reads it, so it need not be small."""
    before = hypothesis.settings()
    hypothesis.settings.register_profile(
        "first failure",
        before,
        phases=(hypothesis.Phase.generate,),
        report_multiple_bugs=False,
        database=None,
    )
    hypothesis.settings.load_profile("first failure")
    yield
    hypothesis.settings.register_profile("before", before)
    hypothesis.settings.load_profile("before")


@pytest.mark.parametrize(
    ("mistake", "check"), NOTICED, ids=[f"{title(m.component)}: {m.name}: {check}" for m, check in NOTICED]
)
@pytest.mark.usefixtures("first_failure")
def test_suite_notices(mistake: Mistake, check: str) -> None:
    with pytest.raises(AssertionError):
        suite.verify(
            title(mistake.component), check, backends.get("numpy"), part=mistake.part, reference=mistake.part
        )


@pytest.mark.parametrize("mistake", CONSISTENT, ids=[f"{title(m.component)}: {m.name}" for m in CONSISTENT])
def test_adjoint_test_alone_does_not_notice_a_right_gradient_of_a_wrong_function(mistake: Mistake) -> None:
    part, component = mistake.part, title(mistake.component)
    suite.verify(component, "adjoint", backends.get("numpy"), part=part, reference=part, share=0.3)


def test_every_check_notices_something_and_every_component_has_a_mistake() -> None:
    assert {check for mistake in MISTAKES for check in mistake.noticed} == set(suite.CHECKS)
    assert {title(mistake.component) for mistake in MISTAKES} == set(suite.COMPONENTS)


def test_a_right_pair_by_other_means_passes() -> None:
    """The helpers above are right where they claim to be: only their arguments are mistakes."""
    pair = normalisation.normalised(lambda x, v, eps: (1 / np.sqrt(v + eps), 1))
    right = Mistake(layer_norm, "none", (), **pair).part
    for check in suite.CHECKS:
        if check != "refusals":
            suite.verify("layer_norm", check, backends.get("numpy"), part=right, reference=right)
