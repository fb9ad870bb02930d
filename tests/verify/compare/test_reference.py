"""What a candidate is held against: where it comes from, and what is refused rather than judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from tests.verify.compare import models
from vitref.errors import CheckpointError, ConfigError, Error, ImageError
from vitref.masks import Train
from vitref.recording import Recording
from vitref.verify.compare import compare
from vitref.verify.reference import resolve
from vitref.verify.verdicts import Report
from vitref.weights.files import save_tensors

LABELS = models.LABELS


def right() -> models.Taps:
    return dict(models.planted())


def outcome(reference: Any, candidate: Any, **options: Any) -> str:
    return compare(reference, candidate, **options).outcome


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    models.reference().save(folder / "whole.safetensors", models.weights())
    models.reference().save(folder / "trace.safetensors")
    models.planted().save(folder / "candidate.safetensors")
    models.weights().save(folder / "weights.safetensors")
    return folder


def test_a_trace_with_its_weights_inside_is_enough(files: Path) -> None:
    report = compare(files / "whole.safetensors", files / "candidate.safetensors")
    assert report.outcome == "agree"
    assert {tap.tap for tap in report.taps} == set(models.reference())


def test_a_trace_and_its_weights(files: Path) -> None:
    weights = files / "weights.safetensors"
    assert outcome(files / "trace.safetensors", right(), weights=weights) == "agree"
    assert outcome(str(files / "trace.safetensors"), right(), weights=str(weights)) == "agree"
    assert outcome(models.reference(), right(), weights=models.weights()) == "agree"


def test_a_trace_finds_the_weights_it_was_made_with(files: Path) -> None:
    trace = vitref.trace(vitref.load(files / "weights.safetensors"), models.image(), LABELS)
    assert outcome(trace, right()) == "agree"


@pytest.mark.parametrize("kind", ["in memory", "file"])
def test_weights_with_an_image_and_labels(files: Path, kind: str) -> None:
    weights = models.weights() if kind == "in memory" else files / "weights.safetensors"
    candidate = models.without(right(), ["image"])
    assert outcome(weights, candidate, image=models.image(), labels=LABELS) == "agree"
    assert outcome(weights, models.logits(candidate), image=models.image()) == "agree"


def test_smoothed_labels_and_another_loss() -> None:
    probabilities = np.random.default_rng(0).uniform(0, 1, (2, 7))
    options: dict[str, Any] = {"labels": probabilities, "loss": "sigmoid"}
    candidate = vitref.trace(models.weights(), models.image(), dtype="float32", **options)
    assert outcome(models.weights(), dict(candidate), image=models.image(), **options) == "agree"
    reference = vitref.trace(models.weights(), models.image(), **options)
    assert outcome(reference, candidate, weights=models.weights()) == "agree"
    options = {"labels": LABELS, "label_smoothing": 0.1}
    candidate = vitref.trace(models.weights(), models.image(), dtype="float32", **options)
    reference = vitref.trace(models.weights(), models.image(), **options)
    assert outcome(models.weights(), dict(candidate), image=models.image(), **options) == "agree"
    assert outcome(reference, candidate, weights=models.weights()) == "agree"
    assert outcome(models.reference(), dict(candidate), weights=models.weights()) == "differ"


@pytest.mark.parametrize("named", [False, True])
def test_cotangents(named: bool) -> None:
    rng = np.random.default_rng(0)
    cotangent: Any = rng.standard_normal((2, 7))
    if named:
        cotangent = {"logits": cotangent, "blocks.0": rng.standard_normal((2, 17, 24))}
    candidate = vitref.trace(models.weights(), models.image(), cotangent=cotangent, dtype="float32")
    reference = vitref.trace(models.weights(), models.image(), cotangent=cotangent)
    assert outcome(reference, candidate, weights=models.weights()) == "agree"
    found = outcome(models.weights(), dict(candidate), image=models.image(), cotangent=cotangent)
    assert found == "agree"


def test_the_image_of_the_candidate_is_used_where_there_is_no_other() -> None:
    candidate = {"input.image": models.image().astype(np.float32), **models.logits(right())}
    report = compare(models.weights(), candidate)
    assert report.outcome == "agree"
    assert report.about["images"] == 2


def test_the_image_of_the_candidate_is_compared_where_there_is_another() -> None:
    image = models.image().copy()
    image[1, 2, 3, 4] += 0.1
    wrong = vitref.trace(models.weights(), image, LABELS, dtype="float32")
    report = compare(models.reference(), wrong, weights=models.weights())
    assert report.outcome == "differ"
    assert report.first is not None
    assert report.first.step == "image"
    kinds = {tap.tap: tap.verdict for tap in report.taps}
    assert kinds["image"] == "bug"
    assert kinds["patch_embed.unfold"] in ("inherited", "exact")
    inputs = {"input.image": wrong["image"], **models.without(models.forward_only(wrong), ["image"])}
    report = compare(models.reference(), inputs, weights=models.weights())
    assert report.first is not None
    assert report.first.step == "image"


def test_pictures_are_preprocessed_as_the_weights_say() -> None:
    from vitref.verify import probes

    case = probes.cases()["pictures"]
    candidate = vitref.trace(case.weights, case.image, dtype="float32")
    assert outcome(case.weights, models.without(candidate, ["image"]), image=case.image) == "agree"


def test_several_models_are_told_apart_by_their_weights() -> None:
    with pytest.raises(ConfigError, match="sha256"):
        compare(models.reference(), right(), weights=models.weights(1))


def test_weights_that_are_nowhere() -> None:
    with pytest.raises(ConfigError, match="in memory") as error:
        compare(models.reference(), right())
    assert "--weights" in str(error.value)


def test_a_trace_of_a_training_pass() -> None:
    train = Train(dropout=0.1, attention_dropout=0.0, drop_path=0.0, seed=0, step=0, first=0)
    trace = vitref.trace(models.weights(), models.image(), train=train)
    with pytest.raises(ConfigError, match="training pass"):
        compare(trace, right(), weights=models.weights())


def test_no_image() -> None:
    with pytest.raises(ConfigError, match="image"):
        compare(models.weights(), models.logits(right()))


def test_an_image_of_another_size() -> None:
    with pytest.raises(ConfigError, match="16 x 20"):
        compare(models.weights(), models.logits(right()), image=np.zeros((2, 3, 20, 16)))


@pytest.mark.parametrize("kind", ["nan", "bytes"])
def test_an_image_that_is_none(kind: str) -> None:
    image: Any = models.image().copy()
    image[0, 0, 0, 0] = np.nan
    with pytest.raises((ImageError, ConfigError)):
        compare(models.weights(), models.logits(right()), image=image if kind == "nan" else b"abc")


@pytest.mark.parametrize("tap", ["head.weight:grad", "blocks.0:dy", "loss"])
def test_gradients_without_labels(tap: str) -> None:
    with pytest.raises(ConfigError, match="label"):
        compare(models.weights(), {tap: right()[tap]}, image=models.image())
    forward_only = vitref.trace(models.weights(), models.image())
    with pytest.raises(ConfigError, match="label"):
        compare(forward_only, {tap: right()[tap]}, weights=models.weights())


@pytest.mark.parametrize("what", ["image", "labels", "cotangent"])
def test_what_a_trace_says_already_is_not_given_again(what: str) -> None:
    given: dict[str, Any] = {"image": models.image(), "labels": LABELS, "cotangent": np.zeros((2, 7))}
    with pytest.raises(ConfigError, match=what):
        compare(models.reference(), right(), weights=models.weights(), **{what: given[what]})


def test_contradictions() -> None:
    image = models.image()
    with pytest.raises(ConfigError, match="weights"):
        compare(models.weights(), right(), weights=models.weights(), image=image)
    with pytest.raises(ConfigError, match="both"):
        compare(models.weights(), right(), image=image, labels=LABELS, cotangent=np.zeros((2, 7)))
    with pytest.raises(Error):
        compare(models.weights(), right(), image=image, labels=[1])
    with pytest.raises(Error):
        compare(models.weights(), right(), image=image, cotangent={"nothing": np.zeros((2, 7))})
    with pytest.raises(Error):
        compare(models.weights(), right(), image=image, cotangent=np.zeros((2, 6)))


def refused(candidate: Any, match: str, kind: type[Error] = ConfigError, **options: Any) -> None:
    with pytest.raises(kind, match=match):
        compare(models.reference(), candidate, weights=models.weights(), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tap", ["blocks.1.mlp.fc1", "head.bias:grad", "logits"])
def test_values_that_are_not_finite(tap: str, value: float) -> None:
    candidate = right()
    changed = candidate[tap].copy()
    changed.flat[3] = value
    refused({**candidate, tap: changed}, "finite", CheckpointError)


def test_an_input_that_is_not_finite() -> None:
    image = models.image().copy()
    image[0, 0, 0, 0] = np.inf
    with pytest.raises(Error):
        compare(
            models.reference(), {"input.image": image, **models.logits(right())}, weights=models.weights()
        )


def test_another_model() -> None:
    deeper = vitref.trace(models.weights(depth=3), models.image(), dtype="float32")
    refused(deeper, "blocks.2")
    wider = vitref.trace(models.weights(mlp_width=44), models.image(), dtype="float32")
    refused(wider, "44")
    refused({"logits": np.zeros((2, 1000))}, "1000")


def test_other_numbers_of_images() -> None:
    refused({"logits": np.zeros((3, 7))}, "3")
    mixed = {**right(), "blocks.0": np.concatenate([right()["blocks.0"]] * 2)}
    refused(mixed, "image")
    refused({"input.image": models.image(images=3), **models.logits(right())}, "image")


def test_names_that_mean_nothing() -> None:
    refused({"nonsense": np.zeros((5, 3))}, "nonsense")
    refused({}, "candidate", Error)
    with pytest.raises(ConfigError, match="nonsense"):
        compare(models.weights(), {"nonsense": np.zeros((2, 17, 24))}, image=models.image())


def test_a_map_that_names_nothing() -> None:
    refused({"x": right()["logits"]}, "nowhere", map={"x": "nowhere"})
    report = compare(
        models.reference(), {"x": right()["logits"]}, weights=models.weights(), map={"x": "logits"}
    )
    assert report.outcome == "agree"


def test_files_that_are_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    refused(empty, "empty", CheckpointError)
    refused(tmp_path / "missing.npz", "missing", CheckpointError)
    with pytest.raises(CheckpointError):
        compare(tmp_path / "missing.safetensors", right())
    with pytest.raises(CheckpointError):
        compare(empty, right())


def test_a_file_of_taps_is_no_reference(tmp_path: Path) -> None:
    save_tensors(tmp_path / "taps.safetensors", {"logits": right()["logits"]}, {})
    with pytest.raises(Error):
        compare(tmp_path / "taps.safetensors", right())


@pytest.mark.parametrize("reference", [None, 3, {"logits": np.zeros((2, 7))}])
def test_a_reference_that_is_none(reference: Any) -> None:
    with pytest.raises(Error):
        compare(reference, right(), image=models.image())


def test_where_it_comes_from_is_recorded(files: Path) -> None:
    weights = vitref.load(files / "weights.safetensors")
    found = resolve(weights, image=models.image())
    assert found.about["reference"].endswith("weights.safetensors")
    assert found.model.image.dtype == np.float64
    assert {array.dtype for array in found.model.parameters.values()} == {np.dtype(np.float64)}
    assert not found.model.differentiates
    assert resolve(weights, image=models.image(), truth=LABELS).model.differentiates


def report_of(candidate: Recording) -> Report:
    return compare(models.reference(), candidate, weights=models.weights())


def test_the_inputs_are_left_alone() -> None:
    before = {tap: array.copy() for tap, array in models.planted().items()}
    report_of(models.planted())
    assert all(np.array_equal(before[tap], models.planted()[tap]) for tap in before)


@pytest.mark.parametrize(
    "labels", [[0, 0], [1, 2, 3], [5, 100], np.eye(7)[[0, 0]], np.full((2, 7), np.nan)], ids=str
)
def test_other_labels_in_the_candidate(labels: Any) -> None:
    refused({"input.labels": np.asarray(labels), **models.logits(right())}, "labels")


def test_the_same_labels_in_another_form() -> None:
    for labels in (np.asarray(LABELS), np.eye(7, dtype=np.float16)[LABELS]):
        candidate = {"input.labels": labels, **models.logits(right())}
        assert outcome(models.reference(), candidate, weights=models.weights()) == "agree"


def test_other_cotangents_in_the_candidate() -> None:
    image, rng = models.image(), np.random.default_rng(0)
    own, other = rng.standard_normal((2, 2, 7))
    candidate = vitref.trace(models.weights(), image, cotangent=own, dtype="float32")
    options = {"image": image, "cotangent": own.astype(np.float16)}
    assert outcome(models.weights(), models.logits(candidate), **options) == "agree"
    with pytest.raises(ConfigError, match="other cotangents"):
        compare(models.weights(), candidate, image=image, cotangent=other)
    with pytest.raises(ConfigError, match="other cotangents"):
        compare(models.weights(), candidate, image=image, labels=LABELS)


@pytest.mark.parametrize(
    "cotangent",
    [{"nothing": np.zeros((2, 7))}, {"head.weight": np.zeros((2, 7))}, np.zeros((2, 6)), "x"],
    ids=["unknown", "parameter", "shape", "text"],
)
def test_cotangents_of_no_output_give_no_verdict(cotangent: Any) -> None:
    with pytest.raises(ConfigError, match="cotangent"):
        compare(models.weights(), models.logits(right()), image=models.image(), cotangent=cotangent)


def test_a_cotangent_that_is_not_finite() -> None:
    with pytest.raises(ConfigError, match="not finite"):
        compare(
            models.weights(), models.logits(right()), image=models.image(), cotangent=np.full((2, 7), np.inf)
        )


@pytest.mark.parametrize("loss", ["hinge", ["cross_entropy"]])
def test_an_unknown_loss(loss: Any) -> None:
    with pytest.raises(ConfigError, match="loss"):
        compare(models.weights(), models.logits(right()), image=models.image(), labels=LABELS, loss=loss)


def test_gradients_that_a_map_leaves_out_need_no_labels() -> None:
    names = {"*:dy": None, "*:grad": None, "loss": None}
    candidate = models.without(right(), ["image"])
    assert outcome(models.weights(), candidate, image=models.image(), map=names) == "agree"


def damaged(inputs: dict[str, Any], **about: Any) -> Recording:
    whole = models.reference()
    known = {**whole.inputs, **inputs}
    return Recording(dict(whole), ran=whole.ran, inputs=known, about={**whole.about, **about})


@pytest.mark.parametrize(
    "trace",
    [
        damaged({"image": models.image()[..., 1:]}),
        damaged({"image": models.image()[0]}),
        damaged({"image": models.image() * np.nan}),
        damaged({"labels": np.array([0, 7])}),
        damaged({"labels": np.full((2, 7), np.nan)}),
        damaged({}, loss="hinge"),
    ],
    ids=["width", "axis", "nan", "class", "nan in labels", "loss"],
)
def test_a_damaged_trace_gives_no_verdict(trace: Recording) -> None:
    with pytest.raises(ConfigError):
        compare(trace, models.logits(right()), weights=models.weights())
