"""The user's verbs: results, dtypes, named outputs, and what they refuse."""

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

import vitref
from vitref.resampling import RECIPES, matrix
from vitref.testing.tolerance import tolerance

Array = npt.NDArray[Any]

CONFIG = vitref.Config(
    image_size=(6, 9),
    patch_size=(2, 3),
    channels=3,
    width=6,
    depth=2,
    heads=3,
    mlp_width=10,
    classes=5,
    eps=1e-6,
    activation="gelu",
    pool="token",
    qkv_bias=True,
    position_grid=(3, 3),
)
PIXELS = vitref.Preprocessing(
    size=(6, 9),
    channels=3,
    resize="squash",
    resize_to=(6, 9),
    interpolation="bilinear",
    mean=(0.4,) * 3,
    std=(0.2,) * 3,
)
LABELS = [4, 0]
TRAIN = vitref.Train(dropout=0.2, attention_dropout=0.3, drop_path=0.4, seed=3, step=9)


def random_weights(config: vitref.Config = CONFIG, seed: int = 0) -> vitref.Weights:
    """Float64 weights with nothing trivial in them: no ones, no zeros."""
    rng = np.random.default_rng(seed)
    shapes = config.parameter_shapes()
    tensors = {name: rng.standard_normal(shape) * 0.5 for name, shape in shapes.items()}
    return vitref.Weights(tensors, config, preprocessing=PIXELS)


@pytest.fixture(scope="module")
def weights() -> vitref.Weights:
    return random_weights()


@pytest.fixture(scope="module")
def image() -> Array:
    return np.random.default_rng(1).standard_normal((2, 3, 6, 9))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_dtype_and_the_batch_axis(weights: vitref.Weights, image: Array, dtype: str) -> None:
    assert vitref.forward(weights, image, dtype=dtype).dtype == dtype
    assert vitref.forward(weights, image[0], dtype=dtype).shape == (1, 5)
    found = vitref.backward(weights, image, LABELS, dtype=dtype)
    assert found.logits is not None
    assert found.logits.shape == (2, 5)
    assert found.image.shape == image.shape
    assert list(found.weights) == list(weights)
    for name, gradient in found.weights.items():
        assert (gradient.shape, gradient.dtype.name) == (weights[name].shape, dtype)
    taps = vitref.trace(weights, image, LABELS, dtype=dtype)
    assert {array.dtype.name for array in taps.values()} == {dtype}


def test_defaults_are_float32_and_for_trace_float64(weights: vitref.Weights, image: Array) -> None:
    assert vitref.forward(weights, image).dtype == np.float32
    assert vitref.backward(weights, image, LABELS).image.dtype == np.float32
    assert vitref.trace(weights, image)["logits"].dtype == np.float64


def test_float32_is_float64_up_to_rounding(weights: vitref.Weights, image: Array) -> None:
    single, double = (vitref.forward(weights, image, dtype=dtype) for dtype in ("float32", "float64"))
    assert np.linalg.norm(single - double) < tolerance("float32", 1000) * np.linalg.norm(double)


def test_the_verbs_agree(weights: vitref.Weights, image: Array) -> None:
    logits = vitref.forward(weights, image, dtype="float64")
    found = vitref.backward(weights, image, LABELS, dtype="float64")
    taps = vitref.trace(weights, image, LABELS)
    assert np.array_equal(logits, taps["logits"])
    assert found.logits is not None
    assert np.array_equal(logits, found.logits)
    assert found.loss == float(taps["loss"])
    assert np.array_equal(found.image, taps["image:dy"])
    for name, gradient in found.weights.items():
        assert np.array_equal(gradient, taps[f"{name}:grad"])


def test_inputs_are_not_touched(weights: vitref.Weights, image: Array) -> None:
    copy = image.copy()
    vitref.backward(weights, image, LABELS, dtype="float64")
    assert np.array_equal(copy, image)


def test_one_array_is_the_cotangent_of_the_final_output(weights: vitref.Weights, image: Array) -> None:
    dy = np.random.default_rng(2).standard_normal((2, 5))
    one = vitref.backward(weights, image, cotangent=dy, dtype="float64")
    named = vitref.backward(weights, image, cotangent={"logits": dy}, dtype="float64")
    assert one.loss is None
    assert all(np.array_equal(one.weights[name], named.weights[name]) for name in weights)
    assert np.array_equal(one.image, named.image)


def test_cotangents_of_several_outputs_add(weights: vitref.Weights, image: Array) -> None:
    taps = vitref.trace(weights, image)
    rng = np.random.default_rng(3)
    given = {name: rng.standard_normal(taps[name].shape) for name in ("pooled", "tokens", "blocks.0.attn.k")}
    both = vitref.backward(weights, image, cotangent=given, dtype="float64")
    parts = [vitref.backward(weights, image, cotangent={k: v}, dtype="float64") for k, v in given.items()]
    for name in weights:
        total = sum(part.weights[name] for part in parts)
        assert np.allclose(both.weights[name], total, rtol=0, atol=tolerance("float64", 1000))
    assert not both.weights["head.weight"].any(), "nothing reaches the head"


def test_cotangent_of_the_loss_gradient_is_the_gradient_of_the_loss(
    weights: vitref.Weights, image: Array
) -> None:
    taps = vitref.trace(weights, image, LABELS)
    direct = vitref.backward(weights, image, LABELS, dtype="float64")
    chained = vitref.backward(weights, image, cotangent={"blocks.0": taps["blocks.0:dy"]}, dtype="float64")
    assert np.allclose(direct.image, chained.image, rtol=0, atol=tolerance("float64", 1000))
    assert not chained.weights["norm.weight"].any()


def test_probabilities_as_labels(weights: vitref.Weights, image: Array) -> None:
    hard = vitref.backward(weights, image, LABELS, dtype="float64")
    soft = vitref.backward(weights, image, np.eye(5)[LABELS], dtype="float64")
    assert hard.loss == soft.loss
    assert np.array_equal(hard.image, soft.image)


def test_model_without_head(image: Array) -> None:
    weights = random_weights(vitref.Config(**{**CONFIG.to_dict(), "classes": 0}))
    features = vitref.forward(weights, image, dtype="float64")
    assert np.array_equal(features, vitref.trace(weights, image)["head_input"])
    found = vitref.backward(weights, image, cotangent=np.ones((2, 6)) * [1, 2, 3, 4, 5, 6])
    assert (found.loss, found.logits) == (None, None)
    with pytest.raises(vitref.ConfigError, match=r"labels.*without classifier.*cotangent="):
        vitref.backward(weights, image, LABELS)


def test_paths_and_pictures(weights: vitref.Weights, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights.save(path)
    picture = np.random.default_rng(4).integers(0, 256, (6, 9, 3), np.uint8)
    pixels = vitref.preprocess(picture, path)
    assert pixels.dtype == np.float64
    assert np.allclose(pixels, (picture.transpose(2, 0, 1)[None] / 255 - 0.4) / 0.2)
    assert np.array_equal(pixels, vitref.preprocess([picture], PIXELS))
    assert np.array_equal(vitref.forward(path, picture), vitref.forward(weights, pixels))


def test_only_keeps_what_it_names(weights: vitref.Weights, image: Array) -> None:
    names = ["blocks.1.attn.softmax", "blocks.1.attn.softmax:dy", "head.bias:grad"]
    everything = vitref.trace(weights, image, LABELS)
    some = vitref.trace(weights, image, LABELS, only=names)
    assert list(some) == names
    assert all(np.array_equal(some[name], everything[name]) for name in names)
    assert list(vitref.trace(weights, image, only="tokens")) == ["tokens"]


def test_trace_without_labels_has_activations_only(weights: vitref.Weights, image: Array) -> None:
    assert [name for name in vitref.trace(weights, image) if ":" in name] == []


def test_recording_says_what_made_it(weights: vitref.Weights, image: Array, tmp_path: Path) -> None:
    dy = np.random.default_rng(5).standard_normal((2, 6))
    recording = vitref.trace(weights, image, cotangent={"pooled": dy})
    assert recording.about["config"] == CONFIG.to_dict()
    assert recording.about["weights"]["sha256"] == weights.source.sha256
    assert recording.ran["blocks.0.norm1"] == "reference"
    labelled = vitref.trace(weights, image, LABELS, loss="sigmoid", label_smoothing=0.25, only="loss")
    assert (labelled.about["loss"], labelled.about["label_smoothing"]) == ("sigmoid", 0.25)
    recording.save(tmp_path / "trace.safetensors")
    tensors = load_file(tmp_path / "trace.safetensors")
    assert {name for name in tensors if not name.startswith("input.")} == set(recording)
    assert np.array_equal(tensors["input.image"], image)
    assert np.array_equal(tensors["input.cotangent.pooled"], dy)
    assert all(np.array_equal(tensors[name], recording[name]) for name in recording)


def test_same_input_same_file(weights: vitref.Weights, image: Array, tmp_path: Path) -> None:
    for name in ("a", "b"):
        vitref.trace(weights, image, LABELS).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# Losses


def moved(weights: vitref.Weights, name: str, step: float) -> vitref.Weights:
    """Along a fixed random direction of one parameter."""
    direction = np.random.default_rng(6).standard_normal(weights[name].shape)
    return weights.replace({name: weights[name] + step * direction})


SETTINGS: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "smoothed": {"label_smoothing": 0.2},
    "sigmoid": {"loss": "sigmoid"},
    "sigmoid smoothed": {"loss": "sigmoid", "label_smoothing": 0.2},
    "training": {"train": TRAIN},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("name", ["pos_embed", "blocks.0.attn.qkv.weight", "head.bias"])
def test_gradients_are_those_of_the_loss(
    settings: dict[str, Any], name: str, weights: vitref.Weights, image: Array
) -> None:
    """By central differences, whose error is a few 1e-9 here: the loss that is returned is differentiated."""
    found = vitref.backward(weights, image, LABELS, dtype="float64", **settings)
    direction = np.random.default_rng(6).standard_normal(weights[name].shape)
    ahead, behind = (
        vitref.backward(moved(weights, name, step), image, LABELS, dtype="float64", **settings).loss
        for step in (1e-5, -1e-5)
    )
    assert ahead is not None
    assert behind is not None
    along = float(np.sum(found.weights[name] * direction))
    assert (ahead - behind) / 2e-5 == pytest.approx(along, rel=1e-6, abs=1e-8)


def test_losses_are_those_of_the_logits(weights: vitref.Weights, image: Array) -> None:
    logits = vitref.forward(weights, image, dtype="float64")
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    yes, no = np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))
    hot = np.eye(5)[LABELS]
    soft = 0.8 * hot + 0.2 / 5
    expected = {
        "cross_entropy": -np.mean(np.sum(hot * log_p, axis=1)),
        "smoothed": -np.mean(np.sum(soft * log_p, axis=1)),
        "sigmoid": np.mean(np.sum(hot * yes + (1 - hot) * no, axis=1)),
        "sigmoid smoothed": np.mean(np.sum(soft * yes + (1 - soft) * no, axis=1)),
    }
    for name, loss in expected.items():
        for verb in (vitref.backward, vitref.trace):
            found: Any = verb(weights, image, LABELS, dtype="float64", **SETTINGS[name])
            value = found.loss if verb is vitref.backward else float(found["loss"])
            assert value == pytest.approx(loss, rel=tolerance("float64", 1000)), name


def test_labels_that_do_not_sum_to_one_are_for_the_sigmoid_loss(
    weights: vitref.Weights, image: Array
) -> None:
    shares = np.random.default_rng(7).uniform(0, 1, (2, 5))
    assert vitref.backward(weights, image, shares, loss="sigmoid").loss is not None
    with pytest.raises(vitref.ConfigError, match="do not sum to 1"):
        vitref.backward(weights, image, shares)


# Training


def test_training_depends_on_seed_and_step_alone(weights: vitref.Weights, image: Array) -> None:
    def taps(train: vitref.Train | None) -> Any:
        return vitref.trace(weights, image, LABELS, train=train)

    first, again = taps(TRAIN), taps(TRAIN)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    for other in (replace(TRAIN, seed=4), replace(TRAIN, step=10), replace(TRAIN, first=1), None):
        assert not np.allclose(first["logits"], taps(other)["logits"])


def test_the_verbs_agree_in_training(weights: vitref.Weights, image: Array) -> None:
    logits = vitref.forward(weights, image, train=TRAIN, dtype="float64")
    found = vitref.backward(weights, image, LABELS, train=TRAIN, dtype="float64")
    taps = vitref.trace(weights, image, LABELS, train=TRAIN)
    assert np.array_equal(logits, taps["logits"])
    assert found.logits is not None
    assert np.array_equal(logits, found.logits)
    assert np.array_equal(found.image, taps["image:dy"])
    assert all(np.array_equal(found.weights[name], taps[f"{name}:grad"]) for name in weights)
    assert [name for name in taps if "drop" in name and ":" not in name][:2] == [
        "pos_drop",
        "blocks.0.attn.attn_drop",
    ]


def test_a_batch_may_be_split(weights: vitref.Weights, image: Array) -> None:
    """Sums of gradients over the parts are those of the whole: `first` says where a part begins."""
    dy = np.random.default_rng(8).standard_normal((2, 5))
    whole = vitref.backward(weights, image, cotangent=dy, train=TRAIN, dtype="float64")
    parts = [
        vitref.backward(
            weights, image[n], cotangent=dy[n : n + 1], train=replace(TRAIN, first=n), dtype="float64"
        )
        for n in range(2)
    ]
    assert np.allclose(
        np.concatenate([p.image for p in parts]), whole.image, rtol=0, atol=tolerance("float64", 1000)
    )
    for name in weights:
        total = parts[0].weights[name] + parts[1].weights[name]
        assert np.allclose(total, whole.weights[name], rtol=0, atol=tolerance("float64", 1000)), name


def test_masks_do_not_depend_on_the_dtype(weights: vitref.Weights, image: Array) -> None:
    single, double = (vitref.trace(weights, image, train=TRAIN, dtype=d) for d in ("float32", "float64"))
    for name in double:
        assert single[name].dtype == np.float32
        if name.endswith("drop") or "drop" in name.rpartition(".")[2]:
            assert np.array_equal(single[name] == 0, double[name] == 0), name


def test_a_recording_says_how_it_was_trained(weights: vitref.Weights, image: Array) -> None:
    about = vitref.trace(weights, image, train=TRAIN).about
    assert vitref.Train(**about["train"]) == TRAIN
    assert vitref.trace(weights, image).about["train"] is None


# Another image size


def stretched(recipe: str, image_size: tuple[int, int]) -> vitref.Weights:
    """The weights of CONFIG for another image size, their position table as it is."""
    config = {**CONFIG.to_dict(), "image_size": image_size, "position_resize": recipe}
    return random_weights(vitref.Config(**config))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("image_size", [(10, 9), (4, 18)])
def test_at_another_size_the_table_is_resized_within_the_graph(
    recipe: str, image_size: tuple[int, int]
) -> None:
    """Outputs are those of the weights with a resized table, the gradient is A^T dtable B of theirs."""
    weights = stretched(recipe, image_size)
    resized = weights.resized(image_size)
    x = np.random.default_rng(9).standard_normal((2, 3, *image_size))
    found = vitref.backward(weights, x, LABELS, dtype="float64")
    expected = vitref.backward(resized, x, LABELS, dtype="float64")
    assert found.loss == pytest.approx(expected.loss, rel=tolerance("float64", 1000))
    assert np.allclose(found.image, expected.image, rtol=0, atol=tolerance("float64", 1000))

    rows, columns = weights.config.grid
    a, b = matrix(3, rows, recipe), matrix(3, columns, recipe)
    theirs = expected.weights["pos_embed"]
    table = np.einsum("ri,rsd,sj->ijd", a, theirs[0, 1:].reshape(rows, columns, -1), b).reshape(1, 9, -1)
    mine = np.concatenate([theirs[:, :1], table], axis=1)
    assert found.weights["pos_embed"].shape == (1, 10, 6)
    assert np.allclose(found.weights["pos_embed"], mine, rtol=0, atol=tolerance("float64", 1000))


def test_a_saved_model_may_be_loaded_for_another_size(weights: vitref.Weights, tmp_path: Path) -> None:
    path, size = tmp_path / "weights.safetensors", (10, 9)
    weights.save(path)
    loaded = vitref.load(path, image_size=size, position_resize="bicubic")
    assert np.array_equal(loaded["pos_embed"], weights["pos_embed"])
    x = np.random.default_rng(9).standard_normal((2, 3, *size))
    expected = vitref.forward(stretched("bicubic", size), x, dtype="float64")
    assert np.array_equal(vitref.forward(loaded, x, dtype="float64"), expected)


def test_the_table_is_resized_in_the_dtype_of_the_run() -> None:
    weights, x = stretched("bicubic", (10, 9)), np.zeros((1, 3, 10, 9))
    single, double = (vitref.trace(weights, x, dtype=d)["pos_embed"] for d in ("float32", "float64"))
    assert single.dtype == np.float32
    assert np.linalg.norm(single - double) < tolerance("float32", 100) * np.linalg.norm(double)


REFUSED: dict[str, tuple[dict[str, Any], type[vitref.Error], str]] = {
    "no labels": ({}, vitref.ConfigError, "labels, cotangent: found neither"),
    "both": ({"labels": LABELS, "cotangent": np.ones((2, 5))}, vitref.ConfigError, "found both"),
    "too few labels": ({"labels": [1]}, vitref.ConfigError, r"labels: found shape \(1,\).*2 integers"),
    "label out of range": ({"labels": [0, 5]}, vitref.ConfigError, "labels: found 5.*0 to 4"),
    "negative label": ({"labels": [0, -1]}, vitref.ConfigError, "labels: found -1"),
    "labels of text": ({"labels": ["a", "b"]}, vitref.ConfigError, "labels: found shape"),
    "boolean labels": ({"labels": [True, False]}, vitref.ConfigError, "labels: found .*bool"),
    "ragged labels": ({"labels": [[1.0], [0.5, 0.5]]}, vitref.ConfigError, "labels: found rows"),
    "float labels": ({"labels": [0.0, 1.0]}, vitref.ConfigError, "labels: found shape"),
    "no probabilities": ({"labels": np.ones((2, 5))}, vitref.ConfigError, "do not sum to 1"),
    "NaN labels": ({"labels": np.full((2, 5), np.nan)}, vitref.ConfigError, "labels"),
    "cotangent shape": (
        {"cotangent": np.ones((2, 4))},
        vitref.ConfigError,
        r"cotangent\['logits'\]: found shape \(2, 4\); expected \(2, 5\)",
    ),
    "cotangent name": ({"cotangent": {"poled": np.ones((2, 6))}}, vitref.ConfigError, "poled.*pooled"),
    "cotangent type": ({"cotangent": "x"}, vitref.ConfigError, r"cotangent\['logits'\]: found str"),
    "integer cotangent": ({"cotangent": np.ones((2, 5), int)}, vitref.ConfigError, "int64"),
    "NaN cotangent": ({"cotangent": np.full((2, 5), np.nan)}, vitref.ConfigError, "finite"),
    "empty cotangent": ({"cotangent": {}}, vitref.ConfigError, "an empty mapping"),
    "backend": ({"labels": LABELS, "backend": "abacus"}, vitref.BackendError, "'abacus'.*numpy"),
    "dtype": ({"labels": LABELS, "dtype": "float8"}, vitref.BackendError, "dtype: found 'float8'"),
    "precision": ({"labels": LABELS, "precision": "tf32"}, vitref.BackendError, "precision: found 'tf32'"),
    "loss": ({"labels": LABELS, "loss": "hinge"}, vitref.ConfigError, "loss: found 'hinge'; .*sigmoid"),
    "loss type": ({"labels": LABELS, "loss": ["sigmoid"]}, vitref.ConfigError, "loss: found "),
    "smoothing": ({"labels": LABELS, "label_smoothing": 1.0}, vitref.ConfigError, "label_smoothing: found 1"),
    "loss without labels": (
        {"cotangent": np.ones((2, 5)), "loss": "sigmoid"},
        vitref.ConfigError,
        "loss, label_smoothing: found 'sigmoid', 0.0 without labels",
    ),
    "smoothing without labels": (
        {"cotangent": np.ones((2, 5)), "label_smoothing": 0.1},
        vitref.ConfigError,
        "found 'cross_entropy', 0.1 without labels",
    ),
    "train": (
        {"labels": LABELS, "train": {"dropout": 0.1}},
        vitref.ConfigError,
        "train: found .*vitref.Train",
    ),
    "train switch": ({"labels": LABELS, "train": True}, vitref.ConfigError, "train: found True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_backward_refuses(case: str, weights: vitref.Weights, image: Array) -> None:
    arguments, kind, message = REFUSED[case]
    with pytest.raises(kind, match=re.compile(message, re.DOTALL)):
        vitref.backward(weights, image, **arguments)


def test_trace_refuses_unknown_taps_and_proposes_close_ones(weights: vitref.Weights, image: Array) -> None:
    with pytest.raises(vitref.ConfigError, match=r"blocks\.0\.attn\.softmx.*blocks\.0\.attn\.softmax"):
        vitref.trace(weights, image, only=["blocks.0.attn.softmx"])
    with pytest.raises(vitref.ConfigError, match="need labels or a cotangent"):
        vitref.trace(weights, image, only=["tokens:dy"])


@pytest.mark.parametrize("shape", [(2, 3, 6, 12), (2, 3, 9, 6), (2, 3, 5, 9)])
def test_other_image_sizes_are_refused(weights: vitref.Weights, shape: tuple[int, ...]) -> None:
    with pytest.raises(vitref.ImageError, match="6 x 9, the model's image_size"):
        vitref.forward(weights, np.zeros(shape))


def test_a_table_for_another_grid_needs_a_recipe(image: Array) -> None:
    config = vitref.Config(**{**CONFIG.to_dict(), "position_grid": (3, 2)})
    message = r"position_resize: found no recipe, for a position table of \(3, 2\) at a grid of \(3, 3\)"
    with pytest.raises(vitref.ConfigError, match=message):
        vitref.forward(random_weights(config), image)


def test_pictures_need_a_known_preprocessing(weights: vitref.Weights) -> None:
    unknown = vitref.Weights(weights, CONFIG)
    for call in (vitref.forward, lambda w, x: vitref.preprocess(x, w)):
        with pytest.raises(vitref.ConfigError, match="preprocessing.*convention="):
            call(unknown, np.zeros((6, 9, 3), np.uint8))


def test_numbers_beyond_float32_are_refused(weights: vitref.Weights, image: Array) -> None:
    with pytest.raises(vitref.ConfigError, match="image: found numbers beyond the range of float32"):
        vitref.forward(weights, image * 1e300)
    huge = weights.replace({"norm.bias": np.full(6, 1e300)})
    with pytest.raises(vitref.ConfigError, match=r"norm\.bias: found numbers beyond"):
        vitref.forward(huge, image)
    assert np.isfinite(vitref.forward(weights, image, dtype="float64")).all()


def test_errors_survive_pickling() -> None:
    error = vitref.ConfigError("a", found="b", expected="c", remedy="D.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (vitref.ConfigError, "a: found b; expected c. D.")


# Gradients written to the arrays of an earlier call


def test_gradients_are_written_to_the_arrays_of_an_earlier_call(weights: vitref.Weights) -> None:
    rng = np.random.default_rng(4)
    first, second = rng.standard_normal((2, 2, 3, 6, 9))
    expected = vitref.backward(weights, second, LABELS)
    earlier = vitref.backward(weights, first, LABELS)
    found = vitref.backward(weights, second, LABELS, out=earlier)
    for name in weights:
        np.testing.assert_array_equal(found.weights[name], expected.weights[name])
    assert all(found.weights[name] is earlier.weights[name] for name in weights)
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.image, expected.image)


@pytest.mark.parametrize("wrong", ["dtype", "model", "frozen", "strided", "shared", "junk", "missing"])
def test_arrays_that_cannot_take_the_gradients_are_refused(weights: vitref.Weights, wrong: str) -> None:
    image = np.zeros((2, 3, 6, 9))
    out: Any = vitref.backward(weights, image, LABELS, dtype="float64" if wrong == "dtype" else "float32")
    if wrong == "model":
        out.weights["head.weight"] = np.zeros((6, 6), np.float32)
    elif wrong == "frozen":
        out.weights["head.weight"].flags.writeable = False
    elif wrong == "strided":
        out.weights["head.weight"] = np.zeros((5, 12), np.float32)[:, ::2]
    elif wrong == "shared":
        out.weights["blocks.0.norm1.bias"] = out.weights["blocks.0.norm1.weight"]
    elif wrong == "missing":
        del out.weights["head.weight"]
    elif wrong == "junk":
        out = 3
    with pytest.raises(vitref.ConfigError, match=r"^out(\.weights\[|:)"):
        vitref.backward(weights, image, LABELS, out=out)


def test_what_is_wrong_with_an_array_for_gradients_is_said(weights: vitref.Weights) -> None:
    image = np.zeros((2, 3, 6, 9))
    out = vitref.backward(weights, image, LABELS)
    out.weights["head.weight"].flags.writeable = False
    with pytest.raises(vitref.ConfigError, match=r"found an array \(5, 6\) of float32, read-only"):
        vitref.backward(weights, image, LABELS, out=out)
    with pytest.raises(vitref.ConfigError, match="found a bool"):
        vitref.backward(weights, image, LABELS, out=True)  # type: ignore[arg-type]
