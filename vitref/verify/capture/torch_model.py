"""Capture of a live torch module: its taps, and with labels or cotangents all its gradients."""

from contextlib import nullcontext
from typing import Any

from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.capture import objective
from vitref.verify.capture.hosts import from_torch
from vitref.verify.capture.imported import library, users_code
from vitref.verify.capture.naming import Change, as_it_is, naming_of
from vitref.verify.capture.sink import Captured, Progress, finished, opened
from vitref.verify.capture.torch_backward import backward, own_gradients, put_gradients
from vitref.verify.capture.torch_inputs import check_model, image_tensor
from vitref.verify.capture.torch_recorder import Recorder
from vitref.weights.files import StrPath

AUTOCAST = ("bfloat16", "float16")


def torch_module(
    model: Any,
    image: Any,
    labels: Any = None,
    cotangent: Any = None,
    *,
    config: Config | None = None,
    out: StrPath | None = None,
    loss: objective.Loss = "cross_entropy",
    autocast: str | None = None,
    progress: Progress | None = None,
) -> Captured:
    """Everything that the modules of a torch model return; with labels or a cotangent also every gradient.

    model      an nn.Module in evaluation mode, on any device
    image      (C, H, W) or (N, C, H, W), floats: cast to the dtype of the model's parameters; what the
               model saw is `input.image` of the result
    labels     integers (N,) or probabilities (N, classes)
    cotangent  instead of labels: an array for the final output, or {tap: array}
    config     of the reference: with it the modules of timm, transformers and torchvision are stored as
               vitref's taps in vitref's layouts; without it, as those of any other model, under their names
    out        a .safetensors file to write, tap by tap, instead of keeping the arrays in memory
    loss       "cross_entropy" or "sigmoid" of the logits, the mean over the batch, by torch; or a function
               (what the model returns, labels) -> tensor without axes
    autocast   the dtype of torch.autocast for the forward pass: "bfloat16" or "float16"
    progress   called with the name of every array

    `NAME:dy` is the cotangent of an output, `NAME:grad` the gradient of a parameter; arrays keep the dtype in
    which the model has them. A module called several times is NAME, NAME#1, ...; of several outputs each
    is NAME.0, NAME.1, or NAME.KEY. Steps without a module are there where attention, softmax or GELU is a
    call of torch (q, k, v, scores, softmax, context, act). All hooks are removed and `.grad` is as before
    when the function returns or raises. Raises ConfigError, ImageError, or BackendError without torch.
    """
    torch = library("torch")
    check_model(torch, model)
    aim = objective.asked(labels, cotangent, config, loss)
    pixels = image_tensor(torch, model, image)
    naming = naming_of(_packages(model), config)
    keep = frozenset(name for tap in aim.starts for name in objective.same_as(tap, config))
    with opened(out) as sink:
        recorder = Recorder(torch, sink, naming, keep, progress)
        for name, array in {"image": from_torch(pixels), **aim.inputs}.items():
            sink.put(f"input.{name}", array)
        with own_gradients(torch, model, backward=aim.is_backward), recorder.released():
            recorder.take(Change("image", as_it_is), pixels.requires_grad_(aim.is_backward))
            output = _forward(torch, recorder, model, pixels, autocast)
            if aim.is_backward:
                backward(torch, recorder, output, aim)
                put_gradients(recorder, model, naming)
        about = {**_facts(torch, model), "autocast": autocast, "library": naming.library}
        about |= {"loss": aim.title, "cotangent": list(aim.cotangents), "left_out": recorder.left_out}
        return finished(sink, out, about)


def _forward(torch: Any, recorder: Recorder, model: Any, pixels: Any, autocast: str | None) -> Any:
    """What the model returns."""
    if autocast not in (None, *AUTOCAST):
        raise ConfigError(
            "autocast",
            found=repr(autocast),
            expected=f"one of {', '.join(AUTOCAST)}",
            remedy="Give one of them.",
        )
    dtype = None if autocast is None else getattr(torch, autocast)
    casting = nullcontext() if dtype is None else torch.autocast(pixels.device.type, dtype=dtype)
    with casting, recorder.watching(model), users_code("the model", "a forward pass of this image"):
        return model(pixels)


def _packages(model: Any) -> list[tuple[str, str]]:
    """(path, Python package of the class) of every module."""
    return [(path, type(module).__module__.partition(".")[0]) for path, module in model.named_modules()]


def _facts(torch: Any, model: Any) -> dict[str, Any]:
    """What is stored of the model."""
    parameters = dict(model.named_parameters())
    return {
        "source": "torch",
        "torch": torch.__version__,
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in parameters.values()}),
        "devices": sorted({str(p.device) for p in parameters.values()}),
        "frozen": [name for name, p in parameters.items() if not p.requires_grad],
    }
