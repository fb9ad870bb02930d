"""The whole graph: its outputs against an independent forward pass, its gradients by complex step."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.checks import (
    above,
    distance,
    final,
    gradient_error,
    gradient_errors,
    gradients,
    oracle_errors,
    outputs,
    random_cotangents,
    rounding,
    take,
)
from tests.graph.models import MODELS, Model, models, tap_names
from vitref.array import NUMPY, VOCABULARY, HostArray
from vitref.call import model_arguments
from vitref.graph import vit
from vitref.masks import Train
from vitref.run import Run, Trace

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def names_of(model: Model) -> list[str]:
    return tap_names(model)


def cotangent(model: Model) -> HostArray:
    """A random one for the final output."""
    return random_cotangents(model, [final(model)], seed=5)[final(model)]


@every_model
def test_outputs_are_those_of_an_independent_implementation(model: Model) -> None:
    assert above(oracle_errors(model), rounding(model)) == {}


@given(models())
def test_outputs_of_any_model_are_those_of_an_independent_implementation(model: Model) -> None:
    assert above(oracle_errors(model), rounding(model)) == {}


@every_model
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_each_array_is_the_derivative(model: Model, seed: int) -> None:
    errors = gradient_errors(model, seed)
    assert errors.keys() == {*model.config.parameter_shapes(), "image"}
    assert above(errors, rounding(model)) == {}


@given(models(), st.integers(0, 2**32 - 1))
def test_gradient_of_any_model_is_the_derivative(model: Model, seed: int) -> None:
    assert gradient_error(model, [final(model)], seed) < rounding(model)


@given(models(), st.data())
def test_gradient_of_any_named_outputs_is_the_derivative(model: Model, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(names_of(model)), min_size=1, max_size=4, unique=True))
    assert gradient_error(model, chosen, seed=0) < rounding(model)


@every_model
def test_gradient_of_each_named_output_is_the_derivative(model: Model) -> None:
    errors = {name: gradient_error(model, [name], seed=0) for name in names_of(model)}
    assert above(errors, rounding(model)) == {}


@given(models())
def test_every_array_has_a_gradient_of_its_shape_and_dtype(model: Model) -> None:
    found = gradients(model, cotangent(model))
    expected = {**model.config.parameter_shapes(), "image": model.arrays["image"].shape}
    assert {name: gradient.shape for name, gradient in found.items()} == expected
    assert all(gradient.dtype == np.float64 and np.isfinite(gradient).all() for gradient in found.values())


@every_model
def test_a_second_pass_gives_the_same_bits(model: Model) -> None:
    first, second = (gradients(model, cotangent(model)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@every_model
def test_inference_gives_the_same_bits(model: Model) -> None:
    run, _ = take(model, record=None)
    for name, tap in outputs(model, run.taps).items():
        np.testing.assert_array_equal(tap, run.taps[name])


@pytest.mark.parametrize("name", ["odd", "equal", "bare", "apart", "training"])
def test_images_do_not_see_each_other(name: str) -> None:
    """In training neither: what is dropped of an image depends on its index in the whole batch alone."""
    model, dy = MODELS[name], cotangent(MODELS[name])
    together, sums = gradients(model, dy), dict[str, Any]()
    logits = outputs(model, [final(model)])[final(model)]
    for n in range(len(dy)):
        alone = model._replace(arrays={**model.arrays, "image": model.arrays["image"][n : n + 1]})
        if model.train:
            alone = alone._replace(train=replace(model.train, first=model.train.first + n))
        found = gradients(alone, dy[n : n + 1])
        assert distance(found["image"], together["image"][n : n + 1]) < rounding(model)
        assert distance(outputs(alone, [final(model)])[final(model)], logits[n : n + 1]) < rounding(model)
        sums = {key: sums.get(key, 0) + gradient for key, gradient in found.items() if key != "image"}
    assert above({key: distance(sums[key], together[key]) for key in sums}, rounding(model)) == {}


@pytest.mark.parametrize("seed", range(3))
def test_rates_of_zero_are_evaluation(seed: int) -> None:
    model = MODELS["training"]
    idle, evaluation = model._replace(train=Train(seed=seed)), model._replace(train=None)
    found, expected = gradients(idle, cotangent(model)), gradients(evaluation, cotangent(model))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert take(idle)[0].ran == take(evaluation)[0].ran


def test_something_is_dropped_at_every_place_and_only_there() -> None:
    """Fewer zeros than rate 0.5 makes likely, or more, are bits that are not random (six deviations)."""
    model = MODELS["training"]._replace(train=Train(dropout=0.5, attention_dropout=0.5, drop_path=0.5))
    run, _ = take(model, record=None)
    places = {name.rpartition(".")[2] for name in run.taps if "drop" in name}
    assert places == {
        "pos_drop", "attn_drop", "proj_drop", "drop1", "drop2", "drop_path1", "drop_path2", "head_drop"
    }  # fmt: skip
    for place in ("pos_drop", "attn_drop", "proj_drop", "drop1", "drop2", "head_drop"):
        taps = [tap for name, tap in run.taps.items() if name.endswith(place)]
        zeros = np.concatenate([(tap == 0).ravel() for tap in taps])
        assert abs(np.mean(zeros) - 0.5) < 6 * 0.5 / np.sqrt(zeros.size), place


def test_a_pass_without_masks_is_refused() -> None:
    with pytest.raises(RuntimeError, match="pos_drop needs masks, and this pass has none"):
        take(MODELS["training"], masks=None)


def test_the_table_is_resized_where_as_many_places_lie_otherwise() -> None:
    """3 x 2 places to 2 x 3: no shape tells that something has to be done."""
    model = MODELS["bare"]
    kept = model._replace(config=replace(model.config, position_grid=model.config.grid))
    resized, unresized = (outputs(m, ["pos_embed"])["pos_embed"] for m in (model, kept))
    assert distance(resized, unresized) > 0.1


def test_pixels_outside_the_patches_are_not_read() -> None:
    model = MODELS["odd"]
    (rows, columns), (h, w) = model.config.grid, model.config.patch_size
    image = model.arrays["image"].copy()
    image[:, :, rows * h :, :] = np.inf
    image[:, :, :, columns * w :] = np.inf
    changed = model._replace(arrays={**model.arrays, "image": image})
    assert distance(outputs(changed, ["logits"])["logits"], outputs(model, ["logits"])["logits"]) == 0
    dimage = gradients(model, cotangent(model))["image"]
    assert dimage[:, :, : rows * h, : columns * w].all()
    assert not dimage[:, :, rows * h :, :].any()
    assert not dimage[:, :, :, columns * w :].any()


@pytest.mark.parametrize("name", ["odd", "apart"])
def test_an_image_for_another_grid_is_refused(name: str) -> None:
    model = MODELS[name]
    image = np.zeros((1, model.config.channels, *(2 * size for size in model.config.image_size)))
    with pytest.raises(ValueError, match="table has shape"):
        outputs(model._replace(arrays={**model.arrays, "image": image}), ["logits"])


# Other arrays


def strict(array: HostArray) -> Any:
    return array_api_strict.asarray(array.copy())


STRICT = SimpleNamespace(
    **{name: getattr(array_api_strict, name) for name in VOCABULARY if name != "erf"},
    erf=lambda x: strict(NUMPY.erf(np.asarray(x))),
)
"""The array API standard to the letter: an array of it refuses everything that the standard has not."""


def given_as(convert: Callable[[HostArray], Any], model: Model) -> dict[str, Any]:
    """Options of a run: tables and masks, made on the host, as arrays of another kind."""
    options: dict[str, Any] = {"constants": lambda build, *arguments: convert(build(*arguments))}
    if model.train:
        mask = model.train.mask
        options["masks"] = lambda *arguments: convert(mask(*arguments))
    return options


@every_model
def test_the_graph_keeps_to_the_array_api_standard(model: Model) -> None:
    dy = cotangent(model)
    elsewhere = model._replace(
        arrays={name: strict(array) for name, array in model.arrays.items()},
        labels=None if model.labels is None else strict(model.labels),
    )
    expected = gradients(model, dy)
    found = gradients(elsewhere, strict(dy), xp=STRICT, **given_as(strict, model))
    errors = {name: distance(np.asarray(found[name]), expected[name]) for name in expected}
    assert above(errors, rounding(model)) == {}


@every_model
def test_float32_stays_float32_and_within_its_rounding(model: Model) -> None:
    single = model._replace(
        arrays={name: array.astype(np.float32) for name, array in model.arrays.items()},
        labels=None if model.labels is None else model.labels.astype(np.float32),
    )
    dy = cotangent(model)
    options = given_as(lambda array: array.astype(np.float32), model)
    run, double = take(single, record=None, **options)[0], take(model, record=None)[0]
    found, expected = gradients(single, dy.astype(np.float32), **options), gradients(model, dy)
    for mine, theirs in ((run.taps, double.taps), (found, expected)):
        assert {array.dtype.name for array in mine.values()} == {"float32"}
        errors = {name: distance(mine[name], theirs[name]) for name in theirs}
        assert above(errors, rounding(model, "float32")) == {}


def test_the_model_is_a_step_like_any_other() -> None:
    """Two models in one pass, the second one behind a name: their gradients are those of each alone."""
    model, other = MODELS["odd"], MODELS["labelled"]
    named = {f"teacher.{name}": array for name, array in other.arrays.items()}
    run = Run({**model.arrays, **named})
    t = Trace(run)
    arguments = model_arguments(model.config)
    t.step("", vit, model.arrays["image"], **arguments)
    y = t.step("teacher", vit, other.arrays["image"], **arguments)
    t.undo("teacher", y)
    t.undo("", cotangent(model))
    run.finish()
    expected = gradients(model, cotangent(model))
    assert run.gradients.keys() == (expected.keys() | named.keys()) - {"image", "teacher.image"}
    assert all(np.array_equal(run.gradients[name], expected[name]) for name in expected if name != "image")
