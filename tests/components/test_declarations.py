"""What a component declares: the form that the run, the backends and the suite rely on."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from vitref.testing.cases import SPECS
from vitref.testing.invariants import INVARIANTS

COMPONENTS = importlib.import_module("vitref.components")
NAMES = sorted(path.stem for path in Path(*COMPONENTS.__path__).glob("*.py") if path.stem != "__init__")
EACH = pytest.mark.parametrize("name", NAMES)


def component(name: str) -> Any:
    return importlib.import_module(f"vitref.components.{name}")


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(component(name).forward).parameters)


def positional(name: str) -> list[str]:
    return [key for key, p in parameters(name).items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def sentences(docstring: str) -> list[str]:
    """What stands under Invariants, up to the next heading, one sentence for each semicolon."""
    found = re.search(r"^Invariants (.*?)^[A-Z]", docstring, re.DOTALL | re.MULTILINE)
    assert found, "no Invariants"
    return [" ".join(sentence.split()) for sentence in found[1].strip().removesuffix(".").split(";")]


def test_every_component_is_in_the_tables_of_the_suite() -> None:
    assert sorted(SPECS) == sorted(INVARIANTS) == NAMES


@EACH
def test_every_invariant_of_the_docstring_is_checked_and_no_other(name: str) -> None:
    assert list(INVARIANTS[name]) == sentences(component(name).__doc__)


@EACH
def test_gradients_have_the_names_and_order_of_the_arguments(name: str) -> None:
    assert list(component(name).Grads._fields) == positional(name)


@EACH
def test_parameters_are_the_last_arguments(name: str) -> None:
    declared = component(name).PARAMS
    assert declared in ((), ("",)) or positional(name)[-len(declared) :] == list(declared)
    assert len(declared) < len(positional(name))


@EACH
def test_static_arguments_are_keywords_without_default(name: str) -> None:
    keywords = {key: p.default for key, p in parameters(name).items() if p.kind is p.KEYWORD_ONLY}
    assert keywords.pop("xp") is importlib.import_module("vitref.array").NUMPY
    assert all(default is inspect.Parameter.empty for default in keywords.values())


@EACH
def test_backward_takes_dy_saved_and_xp(name: str) -> None:
    taken = dict(inspect.signature(component(name).backward).parameters)
    assert len(taken) == 3
    assert list(taken)[1:] == ["saved", "xp"]
    assert taken["xp"].kind is inspect.Parameter.KEYWORD_ONLY


@EACH
def test_suite_draws_the_arguments_of_the_signature(name: str) -> None:
    arguments = SPECS[name].arguments(lambda low, high: high)
    static = [key for key, p in parameters(name).items() if p.kind is p.KEYWORD_ONLY and key != "xp"]
    assert (list(arguments.shapes), list(arguments.static)) == (positional(name), static)
