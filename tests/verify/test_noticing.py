"""Every planted mistake is noticed by a check that does not know the right code, and nothing else is."""

import ast
import inspect
from dataclasses import fields, replace
from fnmatch import fnmatch
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.testing import tolerance
from vitref.verify import interpolation, mistakes, noticing, oracle, passes, probes
from vitref.verify.mistakes import Mistake

ALL = [pytest.param(mistake, id=name) for name, mistake in mistakes.CATALOGUE.items()]
CODE = [pytest.param(m, id=m.name) for m in mistakes.CATALOGUE.values() if m.edits]
BACKWARD = [pytest.param(m, id=m.name) for m in [*mistakes.CATALOGUE.values()][::6] if m.backward]
"""A sample: `test_catalogue` reads the same off the code of all."""

EQUIVALENT = [pytest.param(m, id=m.name) for m in mistakes.CATALOGUE.values() if m.equivalent]

NUMERICAL = {"one_pass_variance", "softmax_overflows"}
"""Right in exact arithmetic: what they lose shows in large numbers or in float32, so in the suite alone."""

SAMPLE = ("bessel", "one_pass_variance", "softmax_overflows", "softmax_over_queries", "quick_gelu")
"""Planted in the property suite too; the command `vitref mistakes` does that with all."""

HARMLESS = Mistake(
    name="harmless",
    what="the summands stand in the other order",
    evidence=(),
    shows="*",
    edits={"add": ("return a + b -> return b + a",)},
)


@cache
def judged(name: str) -> noticing.Verdict:
    """Planted in the models, not in the suite."""
    return noticing.judge(mistakes.find(name), properties=False)


@pytest.mark.parametrize("name", probes.MODELS)
def test_nothing_is_noticed_of_a_right_model(name: str) -> None:
    case = probes.cases()[name]
    noticed, signature = noticing.examine(case, name, passes.recorded(case))
    assert (noticed, signature.moved) == (set(), {})


@pytest.mark.parametrize("mistake", ALL)
def test_a_mistake_is_noticed_where_it_should_be(mistake: Mistake) -> None:
    verdict = judged(mistake.name)
    if mistake.name in NUMERICAL:
        assert (verdict.noticed, dict(verdict.signatures)) == ((), {})
        return
    assert verdict.passed
    assert fnmatch(verdict.signatures[verdict.strongest].first, mistake.shows)
    if mistake.backward:
        assert "gradients" in verdict.noticed
        assert {"outputs", "tensors", "pixels"}.isdisjoint(verdict.noticed)
    elif not mistake.equivalent:
        assert "outputs" in verdict.noticed


@pytest.mark.parametrize("mistake", CODE)
def test_a_mistake_of_the_forward_pass_has_the_gradient_that_belongs_to_it(mistake: Mistake) -> None:
    verdict = judged(mistake.name)
    unreached = "keys" in verdict.noticed  # a parameter that is not used has no gradient at all
    assert ("gradients" in verdict.noticed) == (mistake.backward or unreached)


@pytest.mark.parametrize("mistake", BACKWARD)
def test_a_mistake_of_the_backward_pass_changes_no_bit_of_the_forward_pass(mistake: Mistake) -> None:
    for name, right in probes.cases().items():
        taps, mistaken = passes.recorded(right), passes.recorded(mistakes.plant(mistake, right))
        outputs = [tap for tap in taps if not tap.endswith((":dy", ":grad"))]
        assert all(np.array_equal(taps[tap], mistaken[tap]) for tap in outputs), name


@pytest.mark.parametrize("name", SAMPLE)
def test_the_property_suite_notices(name: str) -> None:
    mistake = mistakes.find(name)
    noticed = noticing.judge(mistake).noticed
    assert {"suite.oracle", "suite.adjoint"} & set(noticed)
    if name not in NUMERICAL:
        assert ("suite.adjoint" in noticed) == mistake.backward


@pytest.mark.parametrize("mistake", EQUIVALENT)
def test_an_equivalent_is_one_and_moves_something(mistake: Mistake) -> None:
    verdict = judged(mistake.name)
    assert verdict.is_equivalent
    assert verdict.signatures
    assert verdict.noticed == ("tensors",)


def test_a_false_claim_of_equivalence_does_not_pass() -> None:
    claimed = replace(mistakes.find("bessel"), equivalent="It is not.")
    assert not noticing.judge(claimed, properties=False).passed


def test_an_equivalent_without_a_proof_does_not_pass() -> None:
    unproven = replace(mistakes.find("key_bias_missing"), equivalent="")
    assert not noticing.judge(unproven, properties=False).passed


def test_a_change_that_changes_nothing_does_not_pass() -> None:
    verdict = noticing.judge(HARMLESS)
    assert (verdict.noticed, verdict.passed) == ((), False)


def test_the_backend_runs_the_mistaken_model() -> None:
    right = probes.cases()["token"]
    mistaken = mistakes.backend(mistakes.find("softmax_over_queries"))
    assert "softmax_over_queries" in mistaken.name
    given: Any = {"cotangent": np.random.default_rng(0).standard_normal((3, 4)), "dtype": "float64"}
    trace = vitref.trace(right.weights, right.image, backend=mistaken, **given)
    assert trace.ran["blocks.0.attn.softmax"] == "kernel"
    np.testing.assert_allclose(trace["blocks.0.attn.softmax"].sum(axis=-2), 1, rtol=tolerance("float64", 8))
    logits = vitref.forward(right.weights, right.image, backend=mistaken, dtype="float64")
    np.testing.assert_array_equal(logits, trace["logits"])
    gradients = vitref.backward(right.weights, right.image, backend=mistaken, **given)
    np.testing.assert_array_equal(gradients.image, trace["image:dy"])
    assert np.abs(logits - vitref.forward(right.weights, right.image, dtype="float64")).max() > 1e-3


def imported(module: ModuleType) -> set[str]:
    """The modules of vitref that this one's code imports, wherever it does; not those for types alone."""
    tree = ast.parse(inspect.getsource(module))
    tree.body = [node for node in tree.body if ast.unparse(node).partition(":")[0] != "if TYPE_CHECKING"]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith((".", "vitref"))}


def test_the_oracle_knows_none_of_the_code_it_checks() -> None:
    assert imported(oracle) == {"vitref.verify.interpolation"}
    assert imported(interpolation) == set()


def test_the_oracle_reads_settings_only_as_they_were_given() -> None:
    """What a Config derives from them is code that the oracle checks."""
    nodes = [
        node for node in ast.walk(ast.parse(inspect.getsource(oracle))) if isinstance(node, ast.Attribute)
    ]
    read = {node.attr for node in nodes if ast.unparse(node.value) == "config"}
    assert {"eps", "patch_size"} <= read <= {field.name for field in fields(vitref.Config)}


@pytest.mark.parametrize(
    "mistake",
    [
        replace(HARMLESS, edits={"block": ("no such line -> x",)}),
        replace(HARMLESS, edits={"no_such_component": ("a -> b",)}),
        replace(HARMLESS, edits={"add": ("return a + b -> return (",)}),
        replace(HARMLESS, edits={}, tensors=lambda tensors, config: {"pos_embed": tensors["pos_embd"]}),
        replace(HARMLESS, edits={}, tensors=lambda tensors, config: {"pos_embd": tensors["pos_embed"]}),
        replace(HARMLESS, edits={}, config=lambda config: replace(config, activation="gelo")),
        replace(HARMLESS, edits={}, config=lambda config: replace(config, image_size=(1, 1))),
        replace(HARMLESS, edits={}, pixels=lambda pictures, recipe: pictures[9]),
    ],
    ids=["line", "component", "syntax", "read", "written", "setting", "settings", "pixels"],
)
def test_what_cannot_be_planted_is_an_error_and_not_noticed(mistake: Mistake) -> None:
    with pytest.raises(vitref.ConfigError, match="the mistake harmless: found"):
        noticing.judge(mistake)


def test_tensors_of_another_shape_are_refused_which_is_noticed() -> None:
    transposed = replace(
        mistakes.find("square_weights_transposed"),
        tensors=lambda tensors, config: {"blocks.0.mlp.fc1.weight": tensors["blocks.0.mlp.fc1.weight"].T},
    )
    verdict = noticing.judge(transposed, properties=False)
    assert "refused" in verdict.noticed
    assert "(6, 7)" in verdict.errors["token"]
