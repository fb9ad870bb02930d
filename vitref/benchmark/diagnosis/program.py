"""The second program: a pass of the plain PyTorch model, forward and backward, and what it recorded.

`taps` runs it with the bugs planted that are asked for; autograd differentiates what they made of it.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from typing import Any

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.benchmark.diagnosis import pieces, wiring
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch
from vitref.config import Config

FORMATS = ("float64", "float32", "bfloat16", "float16", "autocast")
"""In which the program can run; autocast keeps float32 weights and multiplies in bfloat16."""


class Pass:
    """What one pass shares: weights and labels as tensors, the changes in force, and the outputs kept."""

    def __init__(
        self, weights: Mapping[str, Any], config: Config, labels: Any, changes: Sequence[Change] = ()
    ) -> None:
        self.weights, self.config, self.labels, self.changes = dict(weights), config, labels, changes
        self.kept: dict[str, Any] = {}

    def piece(self, name: str, at: str, *inputs: Any) -> Any:
        """What the piece of this name makes of its inputs; a bug's where one stands in its place."""
        for change in self.changes:
            if change.piece == name and fnmatchcase(at, change.at):
                return change.wrong(self, at, *inputs)
        right = getattr(wiring, name, None) or getattr(pieces, name)
        return right(self, at, *inputs)

    def with_weights(self, weights: Mapping[str, Any]) -> "Pass":
        """The same pass with other weights, which keeps nothing."""
        return Pass({**self.weights, **weights}, self.config, self.labels)

    def step(self, name: str, at: str, *inputs: Any) -> Any:
        return self.keep(self.piece(name, at, *inputs), at)

    def keep(self, value: Any, *names: str) -> Any:
        if value.requires_grad:
            value.retain_grad()
        self.kept |= dict.fromkeys(names, value)
        return value


def taps(
    weights: Mapping[str, HostArray],
    config: Config,
    image: HostArray,
    labels: HostArray | None = None,
    *,
    dtype: str = "float64",
    bugs: Sequence[Bug] = (),
) -> dict[str, HostArray]:
    """Tap -> array, in the dtype in which the program keeps it; with labels also cotangents and gradients.

    weights  canonical name -> array, from which the bugs' loaders make their own
    image    (N, C, H, W)
    labels   integers (N,)
    """
    stored = getattr(torch, "float32" if dtype == "autocast" else dtype)
    tensors = {name: torch.from_numpy(np.array(array, np.float64)) for name, array in weights.items()}
    for bug in bugs:
        tensors = bug.weights(tensors, config) if bug.weights else tensors
    with_gradients = labels is not None
    tensors = {name: t.to(stored).requires_grad_(with_gradients) for name, t in tensors.items()}
    pixels = torch.from_numpy(np.array(image, np.float64)).to(stored).requires_grad_(with_gradients)
    known = None if labels is None else torch.from_numpy(np.array(labels, np.int64))
    m = Pass(tensors, config, known, [change for bug in bugs for change in bug.changes])
    with torch.autocast("cpu", torch.bfloat16) if dtype == "autocast" else nullcontext():
        logits = m.piece("model", "", m.keep(pixels, "image"))
        if with_gradients:
            m.step("loss", "loss", logits)
    if with_gradients:
        m.kept["loss"].backward()
    given = {name: m.weights[name] for name in tensors} if with_gradients else {}
    return recorded(m.kept, given)


def recorded(kept: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, HostArray]:
    """Activations; of a pass with gradients also cotangents and the gradients of the weights."""
    found = {name: host(tensor) for name, tensor in kept.items()}
    if weights:
        found |= {f"{name}:dy": host(gradient(tensor)) for name, tensor in kept.items()}
        found |= {f"{name}:grad": host(gradient(tensor)) for name, tensor in weights.items()}
    return found


def gradient(tensor: Any) -> Any:
    """Its gradient; zeros where nothing reached it."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def host(tensor: Any) -> HostArray:
    """A NumPy array of the same bits."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(tensor.numpy())
