"""The digits: the split, the model's start, a short training from the command, and the bundled checkpoint."""

import dataclasses
import importlib.util
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import vitref
from vitref import ConfigError
from vitref.cli import main
from vitref.images import crop
from vitref.training import digits
from vitref.weights import bundled

needs_digits = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn, of the extra `train`, is not installed"
)


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    return digits.load()


@pytest.fixture(scope="module")
def card() -> str:
    return (bundled.checkpoint().parent / "README.md").read_text(encoding="utf-8")


@needs_digits
def test_data_are_the_1797_digits_in_eight_bits(data: digits.Digits) -> None:
    assert data.pixels.shape == (1797, 8, 8, 1)
    assert data.pixels.dtype.name == "uint8"
    levels = [int(v * 255 / 16 + 0.5) for v in range(17)]
    assert np.unique(data.pixels).tolist() == levels
    assert data.pixels[0, 0, :, 0].tolist() == [levels[v] for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    assert data.labels[:12].tolist() == [*range(10), 0, 1]


@needs_digits
def test_split_is_complete_disjoint_and_by_index(data: digits.Digits) -> None:
    training, held_out = digits.split(data)
    assert sorted([*training.positions, *held_out.positions]) == list(range(1797))
    assert held_out.positions.tolist() == list(range(6, 1797, 7))
    for part in (training, held_out):
        np.testing.assert_array_equal(part.pixels, data.pixels[part.positions])
        np.testing.assert_array_equal(part.labels, data.labels[part.positions])


@needs_digits
def test_preprocessing_centres_the_pixels(data: digits.Digits) -> None:
    values = vitref.preprocess(data.pixels, digits.PREPROCESSING)
    assert abs(values.mean()) < 2e-3
    assert abs(values.std() - 1) < 2e-3


def test_start_is_spread_by_the_number_of_inputs() -> None:
    start = digits.start(0)
    for name, array in start.items():
        if name == "pos_embed":
            assert abs(array.std() / 0.3 - 1) < 0.1
        elif array.ndim == 2:
            assert abs(array.std() * array.shape[1] ** 0.5 - 1) < 0.1, name
        else:
            np.testing.assert_array_equal(array, vitref.init(digits.CONFIG, 0, dtype="float64")[name])


@needs_digits
def test_training_is_determined_by_the_seed(data: digits.Digits) -> None:
    few = digits.subset(data, data.positions < 80)
    recipe = dataclasses.replace(digits.RECIPE, epochs=2, batch=40)
    one, again, other = (digits.train(few, recipe, seed=seed) for seed in (3, 3, 4))
    assert one.source.sha256 == again.source.sha256 != other.source.sha256
    assert {array.dtype for array in one.values()} == {np.dtype(np.float32)}


@needs_digits
def test_command_trains_saves_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "weights.safetensors"
    assert main(["train", "digits", "--epochs", "1", "--out", str(out), "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["train", "digits", "--evaluate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert trained["file"] == str(out)
    assert trained["total"] == 256
    assert trained["right"] == trained["total"] - len(trained["wrong"])
    weights = vitref.load(out)
    assert (weights.config, weights.preprocessing) == (digits.CONFIG, digits.PREPROCESSING)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--evaluate", "--seed", "1"], "--seed beside it"),
        (["--out", "missing/file.safetensors"], "missing or may not be written to"),
        (["--out", "."], "found a folder"),
        (["--epochs", "0"], "0 epochs"),
        (["--seed", "-1"], "seed"),
        (["--evaluate", "missing.safetensors"], "no file of this name"),
    ],
)
@needs_digits
def test_command_refuses(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_models_are_not_evaluated() -> None:
    config = dataclasses.replace(digits.CONFIG, classes=9)
    none = digits.Digits(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(ConfigError, match="9 classes"):
        digits.evaluate(vitref.init(config, 0, preprocessing=digits.PREPROCESSING), none)


def test_missing_scikit_learn_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape('pip install "vitref[train]"')):
        digits.load()


def test_score_lists_exactly_the_pictures_that_are_wrong() -> None:
    """A head that always answers 3."""
    weights = vitref.load(bundled.checkpoint())
    always = weights.replace(
        {
            "head.weight": np.zeros((10, digits.CONFIG.width), np.float32),
            "head.bias": np.eye(10, dtype=np.float32)[3],
        }
    )
    some = digits.Digits(np.zeros((3, 8, 8, 1), np.uint8), np.array([3, 1, 3]), np.array([20, 30, 40]))
    score = digits.evaluate(always, some)
    assert score == (3, 2, [(30, 1, 3)])
    assert score.accuracy == 2 / 3


def test_bundled_checkpoint_needs_no_further_facts() -> None:
    weights = vitref.load(bundled.checkpoint())
    assert (weights.config, weights.preprocessing) == (digits.CONFIG, digits.PREPROCESSING)
    assert bundled.checkpoint().stat().st_size < 1_000_000


def test_bundled_images_are_two_of_each_digit_all_classified_but_the_one_that_the_card_names() -> None:
    labels = [int(path.name.split("_")[1]) for path in bundled.images()]
    assert labels == sorted([*range(10)] * 2)
    predicted = vitref.forward(bundled.checkpoint(), bundled.images()).argmax(axis=1)
    pictures = zip(bundled.images(), labels, predicted, strict=True)
    missed = [(path.name, guess) for path, label, guess in pictures if guess != label]
    assert missed == [("digit_9_index_69.png", 4)]


@needs_digits
def test_bundled_images_are_held_out_digits_bit_for_bit(data: digits.Digits) -> None:
    for path in bundled.images():
        label, index = map(int, re.fullmatch(r"digit_(\d)_index_(\d+)\.png", path.name).groups())  # type: ignore[union-attr]
        held_out = np.flatnonzero((data.positions % 7 == 6) & (data.labels == label))
        assert index in held_out[:2]
        np.testing.assert_array_equal(crop(path, digits.PREPROCESSING)[0], data.pixels[index])


@needs_digits
def test_command_that_the_card_names_prints_what_the_card_says(
    card: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, printed = re.search(r"```\n\$ vitref (.*)\n((?:.+\n)+)```", card).groups()  # type: ignore[union-attr]
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == printed
    accuracy = re.search(r"accuracy (\d+\.\d+)%", printed)
    assert accuracy is not None
    assert float(accuracy[1]) >= 98


def test_card_states_recipe_and_model(card: str) -> None:
    recipe, config = digits.RECIPE, digits.CONFIG
    for fact in (
        f"{recipe.epochs} epochs",
        f"batches of {recipe.batch}",
        f"{recipe.decay}",
        f"index % {digits.FOLD} == {digits.HELD_OUT}",
        f"width {config.width}",
        f"depth {config.depth}",
        "CC BY 4.0",
        "Alpaydin",
        "Kaynak",
    ):
        assert fact in card, fact
