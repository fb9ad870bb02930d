"""The training loss on top of the model. Its gradients are also checked in test_vit.py ("labelled")."""

import numpy as np

from tests.graph.checks import above, distance, gradients, outputs, random_cotangents, rounding
from tests.graph.models import MODELS

MODEL = MODELS["labelled"]
ONE = np.ones(())


def test_integer_labels_are_probabilities_of_one() -> None:
    integers = np.array([3, 0, 3])
    by_number, by_row = (MODEL._replace(labels=labels) for labels in (integers, np.eye(4)[integers]))
    assert outputs(by_number, ["loss"]) == outputs(by_row, ["loss"])
    found, expected = gradients(by_number, ONE), gradients(by_row, ONE)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_the_logits_are_those_of_the_model_alone() -> None:
    alone = MODEL._replace(labels=None)
    np.testing.assert_array_equal(outputs(MODEL, ["logits"])["logits"], outputs(alone, ["logits"])["logits"])


def test_cotangents_of_other_outputs_add_to_the_loss() -> None:
    given = random_cotangents(MODEL, ["blocks.0.attn.softmax", "pooled", "logits"], seed=1)
    together = gradients(MODEL, ONE, cotangents=given)
    loss, rest = gradients(MODEL, ONE), gradients(MODEL, None, cotangents=given)
    errors = {name: distance(together[name], loss[name] + rest[name]) for name in together}
    assert above(errors, rounding(MODEL)) == {}
