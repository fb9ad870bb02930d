"""The user's verbs: load, init, preprocess, forward, backward, trace. Thin: the work is done below.

Wherever weights are asked for, the path of a checkpoint does too. `image` is a preprocessed float
array (C, H, W) or (N, C, H, W), or pictures to be decoded and preprocessed as the checkpoint's
convention says: a path, a Pillow image, a uint8 array (H, W, C) or (N, H, W, C), or a list of these.
Results always carry the batch axis. They are NumPy arrays; for a preprocessed image of another library
(a torch tensor, a CuPy or JAX array) that lies where the backend computes, they are arrays of that library.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vitref import backends, images
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.call import (
    Call,
    check_settings,
    output,
    require_finite,
    reusable,
    run_pass,
    written,
)
from vitref.errors import ConfigError
from vitref.masks import Train
from vitref.preprocessing import Preprocessing
from vitref.recording import Recording
from vitref.streaming import streamed
from vitref.weights import Weights, init, load

__all__ = ["Gradients", "backward", "forward", "init", "load", "preprocess", "stream", "trace"]

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
    logits: Any
    weights: dict[str, Any]
    image: Any

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
    check_finite: bool = False,
) -> Any:
    """The model's final output: logits (N, classes), or (N, width) for a model without head.

    Image and weights are converted to `dtype`, everything is computed in it, and the result has it:
    "float64" or "float32"; on a GPU also "bfloat16" and "float16", whose results are float32. With
    `train` it is a training pass: dropout and DropPath are active. `check_finite` raises when an image
    on a device, or the result, has values that are not finite. Raises ConfigError, ImageError,
    CheckpointError or BackendError.
    """
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train, check_finite)
    with call.scope():
        return call.own_result(output(call))


def stream(
    weights: WeightsLike,
    batches: Iterable[Any],
    *,
    backend: str | Backend = "numpy",
    dtype: str = "float32",
    precision: str = "strict",
    check_finite: bool = False,
) -> Iterator[Any]:
    """The final output of each batch in turn, as `forward` gives it.

    The next batch is read, decoded and moved to the device in another thread while this one is
    computed; three batches are held at most. A batch of fewer images than the first one is filled up with
    zeros, which are cut off again: an image's result does not depend on which batch was the last.
    Raises as `forward` does, at the batch that is wrong.
    """
    loaded, chosen = _loaded(weights), backends.get(backend)
    check_settings(chosen, dtype, precision)
    if not isinstance(batches, Iterable) or isinstance(batches, (str, bytes)):
        raise ConfigError(
            "batches", found=repr(batches), expected="an iterable of images", remedy="Give a list of batches."
        )
    settings = (chosen, dtype, precision, None, check_finite)
    return streamed(lambda batch: Call.prepare(loaded, batch, *settings), iter(batches))


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
    check_finite: bool = False,
    out: Gradients | None = None,
) -> Gradients:
    """The gradient of a loss, the mean over the batch, or of what `cotangent` weighs.

    labels           integers (N,), or (N, classes): probabilities whose rows sum to 1 (cross-entropy),
                     numbers from 0 to 1 (sigmoid)
    loss             "cross_entropy" (softmax) or "sigmoid" (summed over the classes)
    label_smoothing  s: every label t becomes (1 - s) t + s / classes
    cotangent        instead of labels: an array for the final output, or {named output: array}; the
                     gradients are those of the sum over all outputs of <cotangent, output>
    train            settings of a training pass: dropout and DropPath are active
    check_finite     raises when an image on a device, or a result, has values that are not finite
    out              what an earlier call of the same model returned: its arrays are used again for the
                     gradients of the weights, so that its own numbers are lost

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
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train, check_finite)
    outs = reusable(call, out.weights if isinstance(out, Gradients) else out)
    named = {"logits"} if call.weights.config.classes else set()
    done = run_pass(
        call,
        frozenset(named if labels is None else named | {"loss"}),
        labels=labels,
        loss=loss,
        label_smoothing=label_smoothing,
        cotangent=cotangent,
        outs=outs,
    )
    taps, gradients = done.run.taps, done.run.gradients
    with call.scope():
        if check_finite and "loss" in taps:
            require_finite("the loss", taps["loss"], call.backend)
        return Gradients(
            loss=float(call.backend.to_host(taps["loss"])) if "loss" in taps else None,
            logits=call.result(taps["logits"]) if "logits" in taps else None,
            weights={
                name: written(call.result(gradients[name], f"the gradient of {name}"), outs.get(name))
                for name in call.weights
            },
            image=call.result(done.dimage, "the gradient of the image"),
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
    check_finite: bool = False,
) -> Recording:
    """Every activation; with labels or a cotangent also every gradient.

    `only` names the taps to keep: "blocks.0.attn.softmax", "blocks.0.attn.softmax:dy" (the cotangent
    of that output), "blocks.0.attn.qkv.weight:grad" (the gradient of that parameter). Without it, all
    that ran: of a kernel in the place of several steps, what it returns alone; a tap inside it that `only`
    names makes the reference run there. The other arguments are those of `backward`. Raises as it does, and
    ConfigError for a tap that does not exist.
    """
    if labels is not None and cotangent is not None:
        raise ConfigError(
            "labels, cotangent", found="both", expected="at most one of them", remedy="Leave one out."
        )
    call = Call.prepare(_loaded(weights), image, backend, dtype, precision, train, check_finite)
    wanted = None if only is None else _tap_names(only)
    done = run_pass(
        call, wanted, labels=labels, loss=loss, label_smoothing=label_smoothing, cotangent=cotangent
    )
    gradients = {f"{name}:grad": done.run.gradients[name] for name in call.weights if done.run.gradients}
    taps = done.run.taps | {name: g for name, g in gradients.items() if wanted is None or name in wanted}
    objective = {"loss": loss, "label_smoothing": label_smoothing} if labels is not None else {}
    with call.scope():
        for name, array in taps.items() if check_finite else ():
            require_finite(f"tap {name}", array, call.backend)
        inputs = {"image": call.image, **done.given}
        kept, given = ({k: call.backend.to_host(v) for k, v in group.items()} for group in (taps, inputs))
    return Recording(
        kept,
        ran=done.run.ran,
        inputs=given,
        about={**call.about(), **objective},
    )


def _tap_names(only: Any) -> frozenset[str]:
    names = [only] if isinstance(only, str) else list(only) if isinstance(only, Iterable) else [only]
    if all(isinstance(name, str) for name in names):
        return frozenset(names)
    raise ConfigError("only", found=repr(only), expected="names of taps", remedy='Give only=["tokens"], say.')


def _loaded(weights: WeightsLike) -> Weights:
    return weights if isinstance(weights, Weights) else load(weights)
