"""What a candidate is held against: a model, the image, and what its backward pass begins with.

From a trace of `vitref.trace` (a Recording or its file), which says what made it; or from weights and an
image. The reference is always computed again: a stored trace has no rounding noise to be measured by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vitref import images, labels, recording
from vitref.array import HostArray
from vitref.call import check_loss, final_output
from vitref.errors import ConfigError
from vitref.images import sources
from vitref.interchange import on_host
from vitref.recording import Recording
from vitref.verify.evaluate import Model
from vitref.weights import Weights, load
from vitref.weights.mapped import map_tensors

MARK = "trace"
"""The key of a trace file's metadata."""


@dataclass(frozen=True, eq=False)
class Reference:
    """model     what is evaluated
    weights   where its parameters come from
    pictures  uint8 (1, H, W, C) each, where the image was made of them, for mistakes of preprocessing
    about     for the record
    """

    model: Model
    weights: Weights
    pictures: tuple[HostArray, ...]
    about: Mapping[str, Any]


def resolve(
    reference: Any,
    *,
    weights: Any = None,
    image: Any = None,
    own_image: HostArray | None = None,
    truth: Any = None,
    cotangent: Any = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
) -> Reference:
    """`truth` are labels; `own_image` is the candidate's, for a reference that has none.

    Raises ConfigError for what is missing or contradicts itself, and CheckpointError or ImageError.
    """
    trace = _trace(reference)
    if trace is None:
        model_weights = reference if isinstance(reference, Weights) else load(reference)
        if weights is not None:
            raise _contradiction("weights", "weights twice", "Give weights= with a trace alone.")
        pixels, pictures = _image(image if image is not None else own_image, model_weights)
        ends = _ends(model_weights, pixels.shape[0], truth, cotangent, loss, label_smoothing)
        name = model_weights.source.path or "weights in memory"
    else:
        own = {"image": image, "labels": truth, "cotangent": cotangent}
        settings = {"loss": loss != "cross_entropy", "label_smoothing": label_smoothing != 0}
        given = [what for what, array in own.items() if array is not None]
        for what in given + [what for what, is_set in settings.items() if is_set]:
            raise _contradiction(what, f"{what} beside a trace, which has its own", f"Leave {what} out.")
        model_weights = _weights_of(trace, weights)
        pixels, pictures = _stored_image(trace, model_weights), ()
        ends = _stored_ends(trace, model_weights)
        name = "a trace in memory" if isinstance(reference, Recording) else str(reference)
    model = Model(
        {key: np.asarray(array, np.float64) for key, array in model_weights.items()},
        model_weights.config,
        pixels,
        **ends,
    )
    return Reference(model, model_weights, pictures, {"reference": str(name), "images": len(pixels)})


def _trace(reference: Any) -> Recording | None:
    """The recording that is given or lies in a file; None for weights."""
    if isinstance(reference, Recording):
        return reference
    if isinstance(reference, Weights):
        return None
    if not isinstance(reference, str | PathLike):
        raise ConfigError(
            "reference",
            found=type(reference).__name__,
            expected="a trace, weights, or the path of one of them",
            remedy="Give what vitref.trace or vitref.load returned, or a file; the candidate comes second.",
        )
    if Path(reference).is_dir():
        return None
    if Path(reference).suffix == ".safetensors" and MARK in map_tensors(reference)[1]:
        return recording.load(reference)
    return None


def _weights_of(trace: Recording, weights: Any) -> Weights:
    """The weights that made a trace: given, in its file, or where they were read from."""
    if trace.about.get("train"):
        raise ConfigError(
            "reference",
            found="a trace of a training pass, with dropout or DropPath",
            expected="one of evaluation",
            remedy="Record it without train=.",
        )
    said = trace.about["weights"]
    if weights is None and trace.weights is not None:
        return trace.weights
    if weights is None:
        weights = said.get("path")
        if weights is None or not Path(weights).exists():
            raise ConfigError(
                "weights",
                found=f"a trace whose weights ({weights or 'in memory'}) are not there",
                expected="the weights that made it, to compute each step again",
                remedy="Give weights= (--weights), or record the trace with its weights (--with-weights).",
            )
    found = weights if isinstance(weights, Weights) else load(weights, **_fields(trace))
    if found.source.sha256 != said["sha256"]:
        raise ConfigError(
            "weights",
            found=f"weights whose sha256 is {found.source.sha256}",
            expected=f"those of the trace, {said['sha256']}",
            remedy="Give the weights that made the trace, or record it again with these.",
        )
    return found


def _fields(trace: Recording) -> dict[str, Any]:
    """Every fact about the model that the trace states."""
    return {name: value for name, value in trace.about["config"].items() if value is not None}


def _image(image: Any, weights: Weights) -> tuple[HostArray, tuple[HostArray, ...]]:
    if image is None:
        raise ConfigError(
            "image",
            found="weights without an image, and a candidate that does not bring its own",
            expected="the image that the candidate saw",
            remedy="Give image= (--image), or a trace as the reference.",
        )
    config = weights.config
    pixels, decoded = images.to_batch(image, config.channels, weights.preprocessing)
    if tuple(pixels.shape[-2:]) != config.image_size:
        raise ConfigError(
            "image",
            found=f"{pixels.shape[-2]} x {pixels.shape[-1]} pixels",
            expected=f"{config.image_size[0]} x {config.image_size[1]}, the model's image_size",
            remedy="Preprocess to that size, or load the weights with image_size=.",
        )
    pictures = _pictures(image, config.channels) if decoded else ()
    return np.asarray(pixels, np.float64), pictures


def _pictures(image: Any, channels: int) -> tuple[HostArray, ...]:
    arrays = [np.asarray(picture) for _, picture in sources.pictures(image, channels)]
    return tuple(array.reshape(1, *array.shape[:2], channels) for array in arrays)


def _ends(
    weights: Weights, images_: int, truth: Any, cotangent: Any, loss: str, smoothing: float
) -> dict[str, Any]:
    if truth is not None and cotangent is not None:
        raise _contradiction("labels, cotangent", "both", "Leave one out.")
    check_loss(truth, loss, smoothing)
    if truth is not None:
        checked = labels.check(truth, images_, weights.config.classes, loss, smoothing, "float64")
        return {"labels": checked, "loss": loss}
    if cotangent is None:
        return {}
    named = cotangent if isinstance(cotangent, Mapping) else {final_output(weights.config): cotangent}
    return {"cotangents": {str(name): _cotangent(str(name), array) for name, array in named.items()}}


def _cotangent(name: str, array: Any) -> HostArray:
    what = f"cotangent[{name!r}]"
    try:
        return np.asarray(on_host(what, array), np.float64)
    except (TypeError, ValueError):
        raise ConfigError(
            what,
            found=f"a {type(array).__name__}",
            expected="an array of numbers of the output's shape",
            remedy="Give it as a NumPy array.",
        ) from None


def _stored_image(trace: Recording, weights: Weights) -> HostArray:
    pixels, config = np.asarray(trace.inputs["image"], np.float64), weights.config
    if pixels.ndim != 4 or pixels.shape[1:] != (config.channels, *config.image_size):
        raise ConfigError(
            "reference",
            found=f"a trace whose image has the shape {pixels.shape}",
            expected=f"(images, {config.channels}, {config.image_size[0]}, {config.image_size[1]})",
            remedy="Record it again with vitref trace.",
        )
    if not np.isfinite(pixels).all():
        raise ConfigError(
            "reference",
            found="a trace whose image has values that are not finite",
            expected="pixels, preprocessed",
            remedy="Record it again with vitref trace.",
        )
    return pixels


def _stored_ends(trace: Recording, weights: Weights) -> dict[str, Any]:
    start = "cotangent."
    inputs = trace.inputs
    if "labels" in inputs:
        loss = trace.about.get("loss", "cross_entropy")
        check_loss(inputs["labels"], loss, 0.0)
        classes = weights.config.classes
        checked = labels.check(inputs["labels"], len(inputs["image"]), classes, loss, 0.0, "float64")
        return {"labels": checked, "loss": loss}
    given = {name.removeprefix(start): a for name, a in inputs.items() if name.startswith(start)}
    return {"cotangents": {name: np.asarray(array, np.float64) for name, array in given.items()}}


def _contradiction(where: str, found: str, remedy: str) -> ConfigError:
    return ConfigError(where, found=found, expected="one of them", remedy=remedy)
