"""The catalogue of mistakes is complete and true to the code that it changes."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import vitref
from vitref import components
from vitref.config import FIELDS
from vitref.run import title
from vitref.verify import mistakes
from vitref.verify.mistakes import Mistake, edit
from vitref.verify.mistakes.mistake import VALUE

ALL = [pytest.param(mistake, id=name) for name, mistake in mistakes.CATALOGUE.items()]
FIXED = [mistake for mistake in mistakes.CATALOGUE.values() if mistake.free is None]
WITH_CODE = [pytest.param(m, id=m.name) for m in mistakes.CATALOGUE.values() if m.edits]
EVIDENCE = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9_.-]+#[1-9][0-9]*")

SENTENCE = re.compile(r"[A-Z][^\n]*[^.\s]\.")


def test_names_are_unique() -> None:
    assert len(mistakes.CATALOGUE) == sum(len(family) for family in mistakes.FAMILIES.values())
    assert len({mistake.what for mistake in mistakes.CATALOGUE.values()}) == len(mistakes.CATALOGUE)


@pytest.mark.parametrize("mistake", ALL)
def test_data_is_complete(mistake: Mistake) -> None:
    assert re.fullmatch(r"[a-z0-9_-]+", mistake.name)
    assert 10 < len(mistake.what) < 110
    assert not mistake.what.endswith(".")
    assert all(EVIDENCE.fullmatch(report) for report in mistake.evidence)
    assert len(set(mistake.evidence)) == len(mistake.evidence)
    assert mistake.shows
    assert sum(map(bool, (mistake.edits, mistake.config, mistake.tensors, mistake.pixels))) == 1
    assert (mistake.free is not None) == (mistake in mistakes.FAMILIES["constants"])
    assert set(mistake.needs) <= FIELDS


@pytest.mark.parametrize("mistake", ALL)
def test_what_to_look_for_and_how_to_refute_it_are_said(mistake: Mistake) -> None:
    assert 8 < len(mistake.look) < 150
    assert not mistake.look.endswith(".")
    assert 30 < len(mistake.refute) < 220
    assert SENTENCE.fullmatch(mistake.refute)


def test_a_free_constant_stands_in_the_lines_and_within_its_bounds() -> None:
    for mistake in mistakes.FAMILIES["constants"]:
        assert mistake.free is not None
        assert 0 < mistake.free.low < mistake.free.typical < mistake.free.high
        assert bool(mistake.edits) == any(VALUE in e for edits in mistake.edits.values() for e in edits)
        assert VALUE not in mistake.lines
    assert not any(VALUE in e for m in FIXED for edits in m.edits.values() for e in edits)


def test_what_is_alike_says_so_on_both_sides() -> None:
    for mistake in mistakes.CATALOGUE.values():
        for other in map(mistakes.find, mistake.alike):
            assert mistake.name in other.alike
            assert (mistake.alike_on, mistake.backward) == (other.alike_on, other.backward)
        assert mistake.alike or not mistake.alike_on


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_what_is_written_about_their_number(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    written = re.findall(r"(\d+)\s+(?:documented|known)\s+(?:porting\s+)?mistakes", text)
    assert written
    assert {int(number) for number in written} == {len(mistakes.CATALOGUE)}


def test_every_topic_has_mistakes_or_a_reason_why_not() -> None:
    planted = {mistake.topic for mistake in mistakes.CATALOGUE.values()} - {""}
    assert len(mistakes.TOPICS) == 40
    assert {topic for topic, reason in mistakes.TOPICS.items() if not reason} == planted


def test_what_has_no_topic_was_not_reported() -> None:
    assert not any(mistake.evidence for mistake in mistakes.CATALOGUE.values() if not mistake.topic)


def test_many_mistakes_were_really_made() -> None:
    assert sum(bool(mistake.evidence) for mistake in mistakes.CATALOGUE.values()) > 80


@pytest.mark.parametrize("mistake", WITH_CODE)
def test_changed_lines_stand_in_the_component(mistake: Mistake) -> None:
    for name, edits in mistake.edits_with().items():
        changed, right = edit.edited(name, edits), edit.component(name)
        assert title(changed) == name
        assert changed is not right
        assert getattr(changed, "PARAMS", None) == getattr(right, "PARAMS", None)
    assert re.search(r"^\+", mistake.lines, re.MULTILINE)


@pytest.mark.parametrize("mistake", WITH_CODE)
def test_mistakes_of_the_backward_pass_leave_the_forward_pass(mistake: Mistake) -> None:
    """And those of the forward pass do not: read off the code without its backward function."""
    same = [
        without_backward(edit.source(name)) == without_backward(edit.edited_source(name, edits))
        for name, edits in mistake.edits_with().items()
    ]
    assert all(same) == mistake.backward


def without_backward(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if getattr(node, "name", "") != "backward"]
    return ast.unparse(tree)


def test_every_primitive_has_a_mistake() -> None:
    changed = {name for mistake in mistakes.CATALOGUE.values() for name in mistake.edits}
    primitives = {found.name for found in pkgutil.iter_modules(components.__path__)}
    assert primitives - changed == {"identity"}


@pytest.mark.parametrize(
    "edits", [("no such line -> x",), ("xp -> np",), ("r = 1 / xp.sqrt(variance + eps)",)]
)
def test_an_edit_that_fits_no_place_or_several_is_refused(edits: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="places that read"):
        edit.edited("layer_norm", edits)


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(vitref.ConfigError, match="softmax_over_queries"):
        mistakes.find("softmax_over_query")
