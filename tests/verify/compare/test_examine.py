"""What is measured, tap by tap: in which order, from which inputs, and in which formats."""

import tempfile

import numpy as np
import pytest

from tests.verify.compare import models
from vitref.array import HostArray
from vitref.verify.examine import Formats, Given, Only, Spill, examine, formats
from vitref.verify.precision import rounded
from vitref.verify.steps import Steps, table

B0 = "blocks.0."


def steps() -> Steps:
    return table(models.config(), 2, "cross_entropy")


def test_outputs_come_in_the_order_of_the_pass_and_cotangents_in_that_of_the_way_back() -> None:
    kinds = formats(models.planted(), steps())
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    found = examine(model, models.planted(), steps(), kinds)
    order = list(found.local)
    assert set(order) == set(models.reference()) == set(found.end_to_end)
    forward = [tap for tap in models.reference() if ":" not in tap]
    assert order[: len(forward)] == forward
    cotangents = [tap for tap in order if tap.endswith(":dy")]
    recorded = [tap for tap in models.reference() if tap.endswith(":dy")]
    assert (
        cotangents.index("logits:dy") < cotangents.index("blocks.1:dy") < cotangents.index("blocks.1.add1:dy")
    )
    assert cotangents.index("blocks.1.add1:dy") < cotangents.index("blocks.1.norm1:dy")
    assert sorted(cotangents) == sorted(recorded)


def test_the_way_back_is_only_taken_where_something_of_it_is_given() -> None:
    model = models.model(models.weights(), models.image(), labels=models.LABELS)
    taps = models.forward_only(models.planted())
    shares: list[float] = []
    examine(model, taps, steps(), formats(taps, steps()), advance=shares.append)
    assert len(shares) == len(model.links)
    shares.clear()
    taps = models.gradients(models.planted())
    examine(model, taps, steps(), formats(taps, steps()), advance=shares.append)
    assert len(shares) == 2 * len(model.links)
    assert shares[-1] == 1.0


def test_local_is_from_the_given_inputs_and_end_to_end_from_the_image() -> None:
    """A tap that is off moves the local error of those behind it not at all, and the other one fully."""
    taps = models.forward_only(models.reference())
    taps["blocks.0"] = taps["blocks.0"] * 1.5
    taps["blocks.1.norm1"] = models.evaluated(
        models.model(models.weights(), models.image()), given={"blocks.0": taps["blocks.0"]}
    )["blocks.1.norm1"]
    model = models.model(models.weights(), models.image())
    found = examine(model, taps, table(models.config(), 2), Formats("float64", {}))
    assert found.local["blocks.0"].ratio().larger > 1e6
    assert found.local["blocks.1.norm1"].ratio().larger == 0
    assert found.end_to_end["blocks.1.norm1"].ratio().larger > 1e3
    assert (
        found.local["blocks.0.norm1"].ratio().larger == found.end_to_end["blocks.0.norm1"].ratio().larger == 0
    )


def test_an_exact_tap_is_one_that_rounds_to_the_same_bits() -> None:
    taps = {tap: rounded(array, "bfloat16") for tap, array in models.forward_only(models.reference()).items()}
    model = models.model(models.weights(), models.image())
    found = examine(
        model, models.logits(models.reference()), table(models.config(), 2), Formats("float64", {})
    )
    assert found.local["logits"].exact
    found = examine(model, {"image": taps["image"]}, table(models.config(), 2), Formats("bfloat16", {}))
    assert found.local["image"].exact
    assert not found.local["image"].worst or found.local["image"].ratio().larger < 4


def test_one_last_bit_is_not_exact() -> None:
    taps = models.logits(models.reference())
    changed = taps["logits"].copy()
    changed[1, 2] = np.nextafter(changed[1, 2], 9.0)
    model = models.model(models.weights(), models.image())
    found = examine(model, {"logits": changed}, table(models.config(), 2), Formats("float64", {}))
    assert not found.local["logits"].exact
    assert found.local["logits"].worst[0].index == (1, 2)


def test_inputs_are_displaced_by_their_own_noise() -> None:
    """A sum of given arrays is the same for all; a library that consumes other last bits gets another."""
    taps = models.forward_only(models.reference())
    model = models.model(models.weights(), models.image())
    found = examine(model, taps, table(models.config(), 2), Formats("float64", {}))
    for tap in (B0 + "add1", "blocks.1.add2", "pool"):
        assert all(float(run.sum()) > 0 for part in found.local[tap].noise for run in part)
    assert all(float(run.sum()) == 0 for part in found.local["image"].noise for run in part)


@pytest.mark.parametrize(
    ("tap", "source"),
    [
        (B0 + "attn", B0 + "attn.proj"),
        ("blocks.0", B0 + "add2"),
        ("logits", "head"),
        ("image", "image"),
        (B0 + "norm1", B0 + "norm1"),
        (B0 + "attn.proj:dy", B0 + "attn:dy"),
        (B0 + "add2:dy", "blocks.0:dy"),
        ("head:dy", "logits:dy"),
        ("blocks.0:dy", "blocks.0:dy"),
    ],
)
def test_what_is_passed_on_has_the_noise_of_where_it_was_made(tap: str, source: str) -> None:
    assert Given({}, steps()).source(tap) == source


def test_formats_are_read_tap_by_tap() -> None:
    taps = {tap: rounded(a, "bfloat16") for tap, a in models.forward_only(models.planted()).items()}
    for tap in (B0 + "norm1", "norm"):
        taps[tap] = models.planted()[tap]
    found = formats(taps, steps())
    assert found.precision == "bfloat16"
    assert (found.of(B0 + "norm1"), found.of(B0 + "norm2")) == ("float32", "bfloat16")
    realisation = found.realisation(steps(), 0)
    assert realisation.precision == "bfloat16"
    assert realisation.stored[B0 + "norm1"] == "float32"
    assert found.realisation(steps(), 0, "float16").stored == {}


def test_few_numbers_take_the_format_of_their_kind() -> None:
    taps = {tap: rounded(a, "float16") for tap, a in models.forward_only(models.planted()).items()}
    assert formats(taps, steps()).of("logits") == "float16"
    alone = formats({"logits": rounded(models.planted()["logits"], "float16")}, steps())
    assert alone.precision == "float16"
    alone = formats({"logits": np.tile([1.0, 0.5], (2, 5))}, steps())
    assert alone.precision == "float64"
    alone = formats({"logits": models.planted()["logits"].astype(np.float16)}, steps())
    assert alone.precision == "float16"


def test_the_precision_is_that_of_most_products() -> None:
    taps = models.forward_only(models.planted())
    taps[B0 + "mlp.fc1"] = rounded(taps[B0 + "mlp.fc1"], "float16")
    found = formats(taps, steps())
    assert (found.precision, found.of(B0 + "mlp.fc1")) == ("float32", "float16")


def test_what_is_given_in_a_link() -> None:
    given = Given(
        {**models.blocks(models.planted()), "blocks.0:dy": np.zeros(3), "head.bias:grad": np.zeros(3)},
        steps(),
    )
    assert given.outputs(2) == ["blocks.0"]
    assert given.cotangents(2) == ["blocks.0:dy"]
    assert given.gradients(4) == ["head.bias:grad"]
    assert set(given.forward(2)) == {"blocks.0"}
    assert set(given.both(2)) == {"blocks.0", "blocks.0:dy"}
    assert given.backward
    assert not Given(models.blocks(models.planted()), steps()).backward


def test_a_choice_of_arrays_hides_the_others() -> None:
    chosen = Only({"a": np.ones(1), "b": np.ones(1)}, ["a"])
    assert ("a" in chosen, "b" in chosen, list(chosen), len(chosen)) == (True, False, ["a"], 1)


@pytest.mark.parametrize("shape", [(2, 3, 4), (), (0, 5)])
def test_what_is_put_aside_comes_back(shape: tuple[int, ...]) -> None:
    arrays: list[HostArray] = [
        np.random.default_rng(k).standard_normal(shape).astype(d) for k, d in enumerate(("f8", "f4", "f8"))
    ]
    with tempfile.TemporaryFile() as file:
        spill = Spill(file)
        for place, array in enumerate(arrays):
            spill[7, place] = array
        spill[7, 3] = np.arange(24.0).reshape(4, 6).T
        for place in (2, 0, 1):
            assert np.array_equal(spill[7, place], arrays[place])
            assert spill[7, place].dtype == arrays[place].dtype
        assert np.array_equal(spill[7, 3], np.arange(24.0).reshape(4, 6).T)
