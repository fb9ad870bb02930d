"""Fitting: order and augmentation of the examples, the first update, a run that learns and repeats."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import vitref
from tests.backends.device import device
from vitref import Config, ConfigError, Preprocessing, backends
from vitref.array import Array, HostArray
from vitref.images import normalise
from vitref.testing import tolerance
from vitref.training.fit import Labels, Pixels, Recipe, augmented, batches, differentiate, fit

CONFIG = Config(
    image_size=(4, 6),
    patch_size=(2, 3),
    channels=1,
    width=6,
    depth=1,
    heads=3,
    mlp_width=8,
    classes=3,
    eps=1e-6,
    activation="gelu",
    pool="token",
    qkv_bias=True,
    position_grid=(2, 2),
)
PREPROCESSING = Preprocessing(
    size=(4, 6),
    channels=1,
    resize="squash",
    resize_to=(4, 6),
    interpolation="bicubic",
    mean=(0.4,),
    std=(0.3,),
)
RECIPE = Recipe(
    epochs=25,
    batch=8,
    warmup_epochs=2,
    peak=2e-2,
    betas=(0.9, 0.99),
    eps=1e-8,
    decay=0.05,
    shift=1,
    shift_share=0.5,
    background=0,
    mixup=0.0,
)


@pytest.fixture
def examples() -> tuple[Pixels, Labels]:
    """Bright pictures whose brightest third, of columns, is the label."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 50)
    pixels = draw.integers(0, 60, (50, 4, 6, 1))
    columns = np.arange(6)[None, None, :, None] // 2 == labels[:, None, None, None]
    return (pixels + 180 * columns).astype(np.uint8), labels


def run(
    examples: tuple[Pixels, Labels], recipe: Recipe, seed: int
) -> tuple[dict[str, HostArray], list[float]]:
    """(trained parameters, loss of every update)."""
    losses: list[float] = []
    start = vitref.init(CONFIG, seed=1, dtype="float64")
    report = lambda done, steps, loss: losses.append(loss)  # noqa: E731
    return fit(start, CONFIG, PREPROCESSING, *examples, recipe, seed=seed, report=report), losses


def test_loss_falls_and_the_pictures_are_learnt(examples: tuple[Pixels, Labels]) -> None:
    parameters, losses = run(examples, RECIPE, seed=0)
    assert len(losses) == RECIPE.epochs * (50 // RECIPE.batch)
    assert np.mean(losses[:6]) > 1.0
    assert np.mean(losses[-6:]) < 0.3
    weights = vitref.Weights(parameters, CONFIG, preprocessing=PREPROCESSING)
    predicted = vitref.forward(weights, examples[0], dtype="float64").argmax(axis=1)
    assert (predicted == examples[1]).mean() > 0.95


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_same_seed_gives_the_same_bits_and_another_seed_does_not(
    examples: tuple[Pixels, Labels], mixup: float
) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2, mixup=mixup)
    (one, _), (again, _), (other, _) = (run(examples, recipe, seed) for seed in (5, 5, 6))
    assert {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in again.items()
    }
    assert all(array.dtype == np.float64 for array in one.values())
    assert not np.array_equal(one["head.weight"], other["head.weight"])


def test_another_backend_trains_the_same_weights(examples: tuple[Pixels, Labels]) -> None:
    recipe, start = (
        dataclasses.replace(RECIPE, epochs=2, eps=1e-3),
        vitref.init(CONFIG, seed=1, dtype="float64"),
    )
    there = fit(start, CONFIG, PREPROCESSING, *examples, recipe, seed=0, backend=device()[0])
    here = fit(start, CONFIG, PREPROCESSING, *examples, recipe, seed=0)
    for name, expected in here.items():
        assert np.abs(there[name] - expected).max() <= tolerance("float64", 10_000), name


def test_a_backends_own_update_rule_is_used(examples: tuple[Pixels, Labels]) -> None:
    def still(p: Array, g: Array, m: Array, v: Array, **settings: Any) -> tuple[Array, Array, Array]:
        steps.add(settings["step"])
        return p, m, v

    steps: set[int] = set()
    recipe, start = dataclasses.replace(RECIPE, epochs=1), vitref.init(CONFIG, seed=1, dtype="float64")
    backend = device(rules={"adamw": still})[0]
    found = fit(start, CONFIG, PREPROCESSING, *examples, recipe, seed=0, backend=backend)
    assert steps == set(range(1, 50 // recipe.batch + 1))
    assert all(np.array_equal(found[name], start[name]) for name in start)


@pytest.mark.parametrize(("warmup", "rate"), [(0, RECIPE.peak), (4, RECIPE.peak / 4)])
def test_first_update_is_adamw_on_the_gradient_of_vitref_backward(
    examples: tuple[Pixels, Labels], warmup: int, rate: float
) -> None:
    """One whole batch, no augmentation: the order of the examples does not count."""
    pixels, labels = examples
    recipe = dataclasses.replace(
        RECIPE, epochs=1, batch=50, warmup_epochs=warmup, shift_share=0.0, eps=1e-3, decay=0.5
    )
    start = vitref.init(CONFIG, seed=1, dtype="float64")
    trained = fit(start, CONFIG, PREPROCESSING, pixels, labels, recipe, seed=0)
    image = vitref.preprocess(pixels, PREPROCESSING)
    gradients = vitref.backward(start, image, labels, dtype="float64").weights
    for name, p in start.items():
        decay = 0.5 if name.endswith("weight") and "norm" not in name else 0.0
        expected = p - rate * (gradients[name] / (np.abs(gradients[name]) + 1e-3) + decay * p)
        bound = tolerance("float64", 1000)
        np.testing.assert_allclose(trained[name], expected, rtol=bound, atol=bound, err_msg=name)


def test_an_epoch_shows_every_example_at_most_once() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=3, batch=8)
    chosen = list(batches(np.random.default_rng(0), 50, recipe))
    assert [len(positions) for positions in chosen] == [8] * 18
    epochs = [np.concatenate(chosen[i : i + 6]) for i in (0, 6, 12)]
    assert all(len(set(epoch.tolist())) == 48 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_without_augmentation_the_model_sees_what_preprocess_gives(examples: tuple[Pixels, Labels]) -> None:
    recipe = dataclasses.replace(RECIPE, shift_share=0.0)
    targets = np.eye(3)[examples[1]]
    image, seen = augmented(np.random.default_rng(0), examples[0], targets, PREPROCESSING, recipe)
    np.testing.assert_array_equal(image, vitref.preprocess(examples[0], PREPROCESSING))
    np.testing.assert_array_equal(seen, targets)


def test_shifts_are_of_the_recipe_and_labels_stay(examples: tuple[Pixels, Labels]) -> None:
    """A single bright pixel in the middle tells where each picture went."""
    pixels = np.zeros((4000, 4, 6, 1), np.uint8)
    pixels[:, 2, 3] = 255
    recipe = dataclasses.replace(RECIPE, shift_share=0.9)
    targets = np.eye(3)[np.arange(4000) % 3]
    image, seen = augmented(np.random.default_rng(0), pixels, targets, PREPROCESSING, recipe)
    np.testing.assert_array_equal(seen, targets)
    brightest = image.reshape(4000, -1).argmax(axis=1)
    places, counts = np.unique(np.stack(np.divmod(brightest, 6), axis=1), axis=0, return_counts=True)
    assert {(row - 2, column - 3) for row, column in places.tolist()} == {
        (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)
    }
    unmoved = counts[(places == (2, 3)).all(axis=1)].item()
    assert abs(unmoved / 4000 - (0.1 + 0.9 / 9)) < 0.02


def test_mixup_blends_pictures_and_labels_alike(examples: tuple[Pixels, Labels]) -> None:
    """Pictures of one grey level that is the label: after mixing it is the mean of the labels."""
    labels = examples[1]
    pixels = np.broadcast_to((labels * 100).astype(np.uint8)[:, None, None, None], (50, 4, 6, 1))
    recipe = dataclasses.replace(RECIPE, shift_share=0.0, mixup=0.5)
    image, targets = augmented(np.random.default_rng(0), pixels, np.eye(3)[labels], PREPROCESSING, recipe)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-14)
    grey = (image * 0.3 + 0.4) * 255
    np.testing.assert_allclose(grey[:, 0, 0, 0], targets @ [0, 100, 200], atol=255 * tolerance("float64"))
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_gradients_are_those_of_vitref_backward(examples: tuple[Pixels, Labels]) -> None:
    start = vitref.init(CONFIG, seed=1, dtype="float64")
    image, targets = normalise(examples[0], PREPROCESSING), np.eye(3)[examples[1]]
    model = vitref.call.model_arguments(CONFIG)
    loss, gradients = differentiate(dict(start), image, targets, model, backends.get("numpy"))
    expected = vitref.backward(start, image, examples[1], dtype="float64")
    assert loss == pytest.approx(expected.loss, rel=1e-14)
    assert gradients.keys() == expected.weights.keys()
    for name, gradient in gradients.items():
        bound = tolerance("float64", 1000)
        np.testing.assert_allclose(gradient, expected.weights[name], rtol=bound, atol=bound, err_msg=name)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch": 51}])
def test_nothing_to_do_is_an_error(examples: tuple[Pixels, Labels], change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least one whole batch and one epoch"):
        run(examples, dataclasses.replace(RECIPE, **change), seed=0)  # type: ignore[arg-type]


def test_normalise_is_all_that_preprocess_does_to_pictures_of_the_right_size(
    examples: tuple[Pixels, Labels],
) -> None:
    np.testing.assert_array_equal(
        normalise(examples[0], PREPROCESSING), vitref.preprocess(examples[0], PREPROCESSING)
    )
