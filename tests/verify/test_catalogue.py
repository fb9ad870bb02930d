"""The catalogue of mistakes is complete and true to the code that it changes."""

import pkgutil
import re
from pathlib import Path

import pytest

import vitref
from vitref import components
from vitref.run import title
from vitref.verify import mistakes
from vitref.verify.mistakes import Mistake, edit

ALL = [pytest.param(mistake, id=name) for name, mistake in mistakes.CATALOGUE.items()]
WITH_CODE = [pytest.param(m, id=m.name) for m in mistakes.CATALOGUE.values() if m.edits]
EVIDENCE = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9_.-]+#[1-9][0-9]*")

UNREPORTED = {
    "blocks_sorted_as_text",
    "queries_and_keys_swapped",
    "silu",
    "activation_missing",
    "loss_summed",
    "sigmoid_loss_averaged",
    "dropout_without_scale",
    "drop_path_without_scale",
    "drop_path_in_every_block",
    "drop_path_per_token",
}
"""Known from the definition of the model: each leaves out or exchanges one thing that it says."""


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


def test_only_what_nobody_reported_has_no_topic() -> None:
    without = {mistake.name for mistake in mistakes.CATALOGUE.values() if not mistake.topic}
    assert without == UNREPORTED
    assert not any(mistakes.find(name).evidence for name in without)


def test_most_mistakes_were_really_made() -> None:
    reported = [mistake for mistake in mistakes.CATALOGUE.values() if mistake.evidence]
    assert len(reported) > len(mistakes.CATALOGUE) / 2


@pytest.mark.parametrize("mistake", WITH_CODE)
def test_changed_lines_stand_in_the_component(mistake: Mistake) -> None:
    for name, edits in mistake.edits.items():
        changed, right = edit.edited(name, edits), edit.component(name)
        assert title(changed) == name
        assert changed is not right
        assert getattr(changed, "PARAMS", None) == getattr(right, "PARAMS", None)
    assert re.search(r"^-.*\n.*^\+", mistake.lines, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("mistake", WITH_CODE)
def test_mistakes_of_the_backward_pass_leave_the_forward_pass(mistake: Mistake) -> None:
    """And those of the forward pass do not: read off the code, up to the name of the backward function."""
    halves = [
        (
            edit.source(name).partition("def backward(")[0],
            edit.edited_source(name, edits).partition("def backward(")[0],
        )
        for name, edits in mistake.edits.items()
    ]
    helpers = {"scale_of_width", "scale_of_heads", "scale_missing", "scale_inverted", "scale_twice"}
    if mistake.name not in helpers | {"drop_path_in_every_block"}:
        assert all(right == wrong for right, wrong in halves) == mistake.backward


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
