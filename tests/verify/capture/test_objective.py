"""What a backward pass begins at, and which taps hold the same array."""

from typing import Any

import numpy as np
import pytest

from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.capture.objective import asked, same_as
from vitref.verify.probes import BASE


@pytest.mark.parametrize(
    ("facts", "tap", "same"),
    [
        ({}, "logits", {"head"}),
        ({}, "tokens", {"norm"}),
        ({}, "pooled", {"head_input", "pool"}),
        ({"pool": "mean", "final_norm": "pooled"}, "tokens", {"blocks.1"}),
        ({"pool": "mean", "final_norm": "pooled"}, "head_input", {"pooled", "fc_norm"}),
        ({"pre_logits": 5}, "pooled", {"head_input", "pre_logits", "pre_logits.act"}),
        ({}, "blocks.0.add1", set()),
    ],
)
def test_taps_of_one_array(facts: dict[str, Any], tap: str, same: set[str]) -> None:
    first, *others = same_as(tap, Config(**{**BASE, **facts}))
    assert (first, set(others)) == (tap, same)


def test_without_a_reference() -> None:
    assert same_as("pooled", None) == ("pooled", "head_input")


def test_starts_and_inputs() -> None:
    forward = asked(None, None, None)
    assert (forward.is_backward, forward.starts, forward.inputs, forward.title) == (False, (), {}, None)
    labelled = asked([1, 2], None, None)
    assert (labelled.is_backward, labelled.starts, labelled.title) == (True, ("logits",), "cross_entropy")
    given = asked(None, {"tokens": np.ones(3)}, None)
    assert (given.starts, list(given.inputs), given.title) == (("tokens",), ["cotangent.tokens"], None)
    headless = asked(None, np.ones(3), Config(**{**BASE, "classes": 0}))
    assert headless.starts == ("head_input",)
    assert asked([1], None, None, lambda y, t: y).title == "given"


def test_both_and_unknown() -> None:
    with pytest.raises(ConfigError, match="both"):
        asked([1], np.ones(1), None)
    with pytest.raises(ConfigError, match="hinge"):
        asked([1], None, None, "hinge")
