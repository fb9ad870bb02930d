"""The user's verbs: results, dtypes, named outputs, and what they refuse."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

import vitref
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


def test_a_table_for_another_grid_is_refused(image: Array) -> None:
    config = vitref.Config(**{**CONFIG.to_dict(), "position_grid": (3, 2)})
    with pytest.raises(vitref.ConfigError, match="3 x 3 patches.*3 x 2, the grid of the position table"):
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
