"""Windows: from one given output to the next, and what they evaluate is what the whole pass has there."""

import numpy as np
import pytest

from tests.verify.compare import models
from vitref.testing import tolerance
from vitref.verify.examine import Given
from vitref.verify.numerics import Realisation
from vitref.verify.steps import Steps, table
from vitref.verify.windows import (
    Window,
    backward_window,
    boundary,
    evaluated,
    forward_window,
    taps_in,
)

STEPS: Steps = table(models.config(depth=4), 2, "cross_entropy")
"""Links: 0 image, 1 embed, 2 to 5 blocks, 6 head, 7 loss."""


def given(*names: str) -> Given:
    return Given({name: np.zeros(STEPS.expected[name]) for name in names}, STEPS)


@pytest.mark.parametrize(
    ("names", "place", "start", "stop"),
    [
        ((), 3, 0, 7),
        (("logits",), 3, 0, 6),
        (("logits",), 7, 7, 7),
        (("blocks.0", "blocks.2", "logits"), 2, 0, 2),
        (("blocks.0", "blocks.2", "logits"), 3, 3, 4),
        (("blocks.0", "blocks.2", "logits"), 4, 3, 4),
        (("blocks.0", "blocks.2", "logits"), 6, 5, 6),
        (("embed", "blocks.0", "blocks.0.attn"), 2, 2, 2),
    ],
)
def test_from_one_given_output_to_the_next(names: tuple[str, ...], place: int, start: int, stop: int) -> None:
    assert forward_window(given(*names), STEPS, place) == Window(start, stop)


@pytest.mark.parametrize(
    ("names", "place", "start", "stop"),
    [
        ((), 3, 0, 7),
        (("logits:dy",), 3, 0, 6),
        (("blocks.0:dy", "blocks.2:dy"), 3, 0, 4),
        (("blocks.0", "blocks.0:dy", "blocks.2:dy"), 3, 3, 4),
        (("blocks.1", "blocks.0:dy", "blocks.2:dy"), 3, 0, 4),
        (("embed", "blocks.0:dy", "blocks.2:dy"), 4, 2, 4),
        (("embed", "blocks.0", "blocks.1", "blocks.2", "blocks.0:dy"), 5, 3, 7),
    ],
)
def test_back_from_one_given_cotangent_to_the_one_before(
    names: tuple[str, ...], place: int, start: int, stop: int
) -> None:
    assert backward_window(given(*names), STEPS, place) == Window(start, stop, True)


def test_the_output_between_two_links() -> None:
    assert boundary(given("blocks.0"), STEPS, 2) == "blocks.0"
    assert boundary(given("blocks.0.add2"), STEPS, 2) is None
    assert list(Window(2, 4).places) == [2, 3, 4]


def test_what_a_window_evaluates() -> None:
    names = ("embed", "blocks.0.attn", "blocks.0", "blocks.1", "blocks.0:dy", "blocks.0.mlp.fc1.weight:grad")
    assert taps_in(given(*names), Window(2, 2)) == ["blocks.0.attn", "blocks.0"]
    assert taps_in(given(*names), Window(3, 3, True)) == ["blocks.1", "blocks.0:dy"]
    assert set(taps_in(given(*names), Window(2, 2, True))) == {
        "blocks.0.attn",
        "blocks.0",
        "blocks.0.mlp.fc1.weight:grad",
    }


def whole() -> tuple[models.Taps, Steps]:
    return dict(models.reference()), table(models.config(), 2, "cross_entropy")


@pytest.mark.parametrize("names", [("embed", "blocks.0", "logits"), ("logits",), tuple(models.reference())])
def test_a_window_has_the_values_of_the_whole(names: tuple[str, ...]) -> None:
    taps, steps = whole()
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    known = Given({name: taps[name] for name in names}, steps)
    for place in range(5):
        window = forward_window(known, steps, place)
        found = evaluated(model, None, known, window, taps_in(known, window))
        assert found
        assert all(np.array_equal(found[tap], taps[tap]) for tap in found)


@pytest.mark.parametrize(
    "extra", [(), ("blocks.0:dy",), ("blocks.0", "embed:dy", "blocks.1.mlp:dy"), ("logits:dy", "image:dy")]
)
def test_a_window_of_the_way_back_has_the_values_of_the_whole(extra: tuple[str, ...]) -> None:
    taps, steps = whole()
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    names = [tap for tap in taps if tap.endswith(":grad")] + ["logits", *extra]
    known = Given({name: taps[name] for name in names}, steps)
    seen: set[str] = set()
    for place in range(6):
        window = backward_window(known, steps, place)
        wanted = taps_in(known, window)
        found = evaluated(model, None, known, window, wanted)
        assert set(found) == set(wanted)
        seen |= set(found)
        for tap in found:
            off = np.linalg.norm(found[tap] - taps[tap])
            assert off <= tolerance("float64", taps[tap].size) * np.linalg.norm(taps[tap]), tap
    assert seen == set(names)


def test_a_cotangent_that_does_not_arrive_is_zero() -> None:
    cotangent = np.random.default_rng(0).standard_normal((2, 17, 24))
    model = models.model(models.weights(), models.image(), cotangents={"blocks.0": cotangent})
    steps = table(models.config(), 2)
    taps = models.evaluated(model)
    known = Given(
        {name: taps[name] for name in ("blocks.0", "blocks.1", "blocks.0:dy", "blocks.1:dy")}, steps
    )
    for place, tap, expected in ((3, "blocks.0:dy", cotangent), (4, "blocks.1:dy", np.zeros((2, 17, 24)))):
        found = evaluated(model, None, known, Window(place, place, True), [tap])
        assert np.array_equal(found[tap], expected)


def test_a_window_may_be_computed_as_any_program_might() -> None:
    taps, steps = whole()
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    known = Given({name: taps[name] for name in ("embed", "blocks.0")}, steps)
    (run,) = evaluated(model, Realisation("float32", 0), known, Window(2, 2), ["blocks.0"]).values()
    assert run.dtype == np.float32
    assert 0 < np.abs(run - taps["blocks.0"]).max() < 1e-4
