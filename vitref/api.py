"""The user's verbs: load, init, preprocess, forward, backward, trace. Thin: the work is done below.

Wherever weights are asked for, the path of a checkpoint does too. `image` is a preprocessed float
array (C, H, W) or (N, C, H, W), or pictures to be decoded and preprocessed as the checkpoint's
convention says: a path, a Pillow image, a uint8 array (H, W, C) or (N, H, W, C), or a list of these.
Results are NumPy arrays and always carry the batch axis.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vitref import images
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.call import Call, run_pass
from vitref.errors import ConfigError
from vitref.graph import vit
from vitref.masks import Train
from vitref.preprocessing import Preprocessing
from vitref.recording import Recording
from vitref.run import Trace
from vitref.weights import Weights, init, load

__all__ = ["Gradients", "backward", "forward", "init", "load", "preprocess", "trace"]

WeightsLike: TypeAlias = Weights | str | os.PathLike[str]
"""Weights, or the path of a checkpoint that needs no further facts."""

Cotangent: TypeAlias = HostArray | Mapping[str, HostArray]
"""The cotangent of the final output, or named output -> its cotangent."""


@dataclass(frozen=True)
class Gradients:
    """What `vitref.backward` returns.

    loss      the mean cross-entropy; None when cotangents were given
    logits    (N, classes); None for a model without head
    weights   parameter -> gradient, keys and shapes as in the weights
    image     gradient of the preprocessed image, (N, C, H, W)
    """

    loss: float | None
    logits: HostArray | None
    weights: dict[str, HostArray]
    image: HostArray

    def __repr__(self) -> str:
        return f"Gradients(loss={self.loss}, {len(self.weights)} weights, image {self.image.shape})"


def preprocess(image: Any, weights: WeightsLike | Preprocessing) -> HostArray:
    """Decode, resize, crop and normalise pictures: (N, C, H, W), float64.

    `weights` says how: Weights that know their preprocessing, their path, or a Preprocessing. Raises
    ImageError for what is not a picture, ConfigError when the preprocessing is not known.
    """
    if isinstance(weights, Preprocessing):
        return images.preprocess(image, weights)
    loaded = _loaded(weights)
    if loaded.preprocessing is None:
        raise ConfigError(
            "preprocessing",
            found="weights that do not say how pictures are preprocessed",
            expected="a known preprocessing",
            remedy='Load them with convention= (convention="timm", say) or preprocessing=.',
        )
    return images.preprocess(image, loaded.preprocessing)


def forward(
    weights: WeightsLike,
    image: Any,
    *,
    train: Train | None = None,
    backend: str | Backend = "numpy",
    dtype: str = "float32",
    precision: str = "strict",
) -> HostArray:
    """The model's final output: logits (N, classes), or (N, width) for a model without head.

    Image and weights are converted to `dtype` ("float32" or "float64"), everything is computed in
    it, and the result has it. With `train` it is a training pass: dropout and DropPath are active.
    Raises ConfigError, ImageError, CheckpointError or BackendError.
    """
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train)
    y = Trace(call.run(keep=False)).step("", vit, call.image, **call.model)
    return call.backend.to_host(y)


def backward(
    weights: WeightsLike,
    image: Any,
    labels: Any = None,
    *,
    cotangent: Cotangent | None = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    train: Train | None = None,
    backend: str | Backend = "numpy",
    dtype: str = "float32",
    precision: str = "strict",
) -> Gradients:
    """The gradient of a loss, the mean over the batch, or of what `cotangent` weighs.

    labels           integers (N,), or (N, classes): probabilities whose rows sum to 1 (cross-entropy),
                     numbers from 0 to 1 (sigmoid)
    loss             "cross_entropy" (softmax) or "sigmoid" (summed over the classes)
    label_smoothing  s: every label t becomes (1 - s) t + s / classes
    cotangent        instead of labels: an array for the final output, or {named output: array}; the
                     gradients are those of the sum over all outputs of <cotangent, output>
    train            settings of a training pass: dropout and DropPath are active

    A parameter that nothing reaches has a zero gradient. Raises ConfigError when neither or both
    are given or they do not fit, ImageError, CheckpointError or BackendError.
    """
    if (labels is None) == (cotangent is None):
        raise ConfigError(
            "labels, cotangent",
            found="neither" if labels is None else "both",
            expected="one of them",
            remedy="Give labels for the cross-entropy, or cotangent= for anything else.",
        )
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train)
    named = {"logits"} if call.weights.config.classes else set()
    done = run_pass(
        call,
        frozenset(named if labels is None else named | {"loss"}),
        labels=labels,
        loss=loss,
        label_smoothing=label_smoothing,
        cotangent=cotangent,
    )
    taps = {name: call.backend.to_host(array) for name, array in done.run.taps.items()}
    return Gradients(
        loss=float(taps["loss"]) if "loss" in taps else None,
        logits=taps.get("logits"),
        weights={name: call.backend.to_host(done.run.gradients[name]) for name in call.weights},
        image=call.backend.to_host(done.dimage),
    )


def trace(
    weights: WeightsLike,
    image: Any,
    labels: Any = None,
    *,
    cotangent: Cotangent | None = None,
    only: Iterable[str] | None = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    train: Train | None = None,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    precision: str = "strict",
) -> Recording:
    """Every activation; with labels or a cotangent also every gradient.

    `only` names the taps to keep: "blocks.0.attn.softmax", "blocks.0.attn.softmax:dy" (the cotangent
    of that output), "blocks.0.attn.qkv.weight:grad" (the gradient of that parameter). Without it, all
    that ran. The other arguments are those of `backward`. Raises as it does, and ConfigError for a tap
    that does not exist.
    """
    if labels is not None and cotangent is not None:
        raise ConfigError(
            "labels, cotangent", found="both", expected="at most one of them", remedy="Leave one out."
        )
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train)
    wanted = None if only is None else _tap_names(only)
    done = run_pass(
        call, wanted, labels=labels, loss=loss, label_smoothing=label_smoothing, cotangent=cotangent
    )
    gradients = {f"{name}:grad": done.run.gradients[name] for name in call.weights if done.run.gradients}
    taps = done.run.taps | {name: g for name, g in gradients.items() if wanted is None or name in wanted}
    objective = {"loss": loss, "label_smoothing": label_smoothing} if labels is not None else {}
    return Recording(
        {name: call.backend.to_host(array) for name, array in taps.items()},
        ran=done.run.ran,
        inputs={"image": call.backend.to_host(call.image), **done.given},
        about={**call.about(), **objective},
    )


def _tap_names(only: Any) -> frozenset[str]:
    names = [only] if isinstance(only, str) else list(only) if isinstance(only, Iterable) else [only]
    if all(isinstance(name, str) for name in names):
        return frozenset(names)
    raise ConfigError("only", found=repr(only), expected="names of taps", remedy='Give only=["tokens"], say.')


def _loaded(weights: WeightsLike) -> Weights:
    return weights if isinstance(weights, Weights) else load(weights)
