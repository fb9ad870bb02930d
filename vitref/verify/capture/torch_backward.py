"""The backward pass of a captured torch module: where it begins, and the gradients of its parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.errors import ConfigError
from vitref.verify.capture.hosts import from_torch
from vitref.verify.capture.imported import users_code
from vitref.verify.capture.naming import Change, Naming, as_it_is
from vitref.verify.capture.objective import Objective, same_as
from vitref.verify.capture.torch_recorder import Recorder


@contextmanager
def own_gradients(torch: Any, model: Any, *, backward: bool) -> Iterator[None]:
    """Gradients are recorded or not; `.grad` of all parameters is put aside, and back in any case."""
    before = [(parameter, parameter.grad) for parameter in model.parameters()] if backward else []
    with torch.inference_mode(False), torch.set_grad_enabled(backward):
        try:
            for parameter, _ in before:
                parameter.grad = None
            yield
        finally:
            for parameter, gradient in before:
                parameter.grad = gradient


def backward(torch: Any, recorder: Recorder, output: Any, objective: Objective) -> None:
    """Differentiate the objective; the recorder's hooks store the cotangents.

    Raises ConfigError when a tap that it begins at was not seen, has another shape, or no gradient.
    """
    tensors, starts = [], []
    for tap, array in objective.cotangents.items():
        tensors.append(_tensor(recorder, tap, objective))
        starts.append(_cotangent(torch, tap, array, tensors[-1]))
    if objective.labels is not None:
        with users_code("loss", "a function of the output and the labels"):
            tensors.append(_loss(torch, recorder, output, objective))
        starts.append(None)
        recorder.take(Change("loss", as_it_is), tensors[-1])
    if not all(tensor.requires_grad for tensor in tensors):
        raise ConfigError(
            "the model",
            found="an output that does not depend on image and parameters by operations with a gradient",
            expected="a forward pass that can be differentiated",
            remedy="Remove torch.no_grad and detach from the model, or capture the forward pass alone.",
        )
    recorder.tensors.clear()
    with users_code("the model", "a backward pass"):
        torch.autograd.backward(tensors, starts)


def put_gradients(recorder: Recorder, model: Any, naming: Naming) -> None:
    """Store the gradients of the parameters, as `NAME:grad`."""
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for name, array in naming.gradients({name: from_torch(gradient) for name, gradient in found.items()}):
        recorder.put(f"{name}:grad", array)


def _tensor(recorder: Recorder, tap: str, objective: Objective) -> Any:
    names = same_as(tap, objective.config)
    found = [recorder.tensors[name] for name in names if name in recorder.tensors]
    if not found:
        raise ConfigError(
            "labels" if objective.labels is not None else f"cotangent[{tap!r}]",
            found=f"no tensor of the model that is its {tap}",
            expected=f"a module or an output of this name ({', '.join(names)})",
            remedy="Return it from the model under that name, or differentiate another output.",
        )
    return found[0]


def _cotangent(torch: Any, tap: str, array: HostArray, tensor: Any) -> Any:
    if array.shape != tuple(tensor.shape):
        raise ConfigError(
            f"cotangent[{tap!r}]",
            found=f"shape {array.shape}",
            expected=f"{tuple(tensor.shape)}, the shape of this output",
            remedy="Give an array of that shape, batch axis included.",
        )
    return torch.from_numpy(array.astype(np.float64)).to(tensor.device, tensor.dtype)


def _loss(torch: Any, recorder: Recorder, output: Any, objective: Objective) -> Any:
    """The loss as a tensor without axes: the mean over the batch.

    The known ones are torch's own, of the logits in their dtype, or in float32 where that has 16 bits.
    """
    if not isinstance(objective.loss, str):
        return _given_loss(torch, output, objective)
    logits = _tensor(recorder, "logits", objective)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = _targets(torch, objective, logits)
    functional = torch.nn.functional
    if objective.loss == "cross_entropy":
        return functional.cross_entropy(logits, targets)
    rows = targets if targets.ndim == 2 else functional.one_hot(targets, logits.shape[-1])
    total = functional.binary_cross_entropy_with_logits(logits, rows.to(logits.dtype), reduction="sum")
    return total / logits.shape[0]


def _given_loss(torch: Any, output: Any, objective: Objective) -> Any:
    assert callable(objective.loss)
    value = objective.loss(output, torch.from_numpy(np.array(objective.labels)))
    if torch.is_tensor(value) and not value.ndim:
        return value
    shape = f" of shape {tuple(value.shape)}" if torch.is_tensor(value) else ""
    raise ConfigError(
        "loss",
        found=f"a function that returns a {type(value).__name__}{shape}",
        expected="one number, a tensor without axes",
        remedy="Return the mean of the losses.",
    )


def _targets(torch: Any, objective: Objective, logits: Any) -> Any:
    """Labels as a tensor beside the logits. Raises ConfigError when they do not fit."""
    labels, (n, classes) = np.asarray(objective.labels), logits.shape
    integers = labels.dtype.kind in "iu" and labels.shape == (n,)
    outside = integers and bool(((labels < 0) | (labels >= classes)).any())
    if outside or not (integers or (labels.dtype.kind == "f" and labels.shape == (n, classes))):
        raise ConfigError(
            "labels",
            found=f"shape {labels.shape}, dtype {labels.dtype}" + (", out of range" if outside else ""),
            expected=f"{n} integers from 0 to {classes - 1}, or probabilities of shape ({n}, {classes})",
            remedy="Give one label per image, classes counted from 0.",
        )
    if integers:
        return torch.from_numpy(labels.astype(np.int64)).to(logits.device)
    return torch.from_numpy(np.array(labels)).to(logits.device, logits.dtype)
