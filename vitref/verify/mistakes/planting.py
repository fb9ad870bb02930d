"""Puts a mistake into a model: a changed copy of its code, settings, tensors or pixels.

A mistake that has no place in a model does not apply to it, which is told in three ways: `plant` returns the
very case that it was given (the model lacks the component, the tensor or the setting, or has what the
mistake would put there); it raises ConfigError (a line stands nowhere, or was changed before by another
mistake); or CheckpointError (a real loader would have refused these settings or shapes).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from vitref import backends
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import ConfigError, Error
from vitref.masks import Train
from vitref.verify.mistakes import edit
from vitref.verify.mistakes.mistake import Mistake
from vitref.weights import Weights

SETTINGS = {
    "eps": ("layer_norm",),
    "activation": ("gelu",),
    "pool": ("select_token", "mean_pool"),
    "heads": ("split_heads",),
    "head_dim": ("split_heads",),
    "position_resize": ("resized_position_embedding",),
    "position_grid": ("position_embedding", "resized_position_embedding"),
}
"""Field of Config -> the components that it reaches."""


class Case(NamedTuple):
    """What is computed, and by what.

    image   a float64 array (N, C, H, W), or pictures uint8 (N, H, W, C)
    labels  for `loss`; None for a random cotangent of the final output
    train   of a training pass; None in evaluation
    """

    weights: Weights
    image: HostArray
    backend: Backend
    labels: HostArray | None = None
    loss: str = "cross_entropy"
    train: Train | None = None


def backend(mistake: Mistake, on: str | Backend = "numpy", value: float | None = None) -> Backend:
    """A backend with the wrong code in the place of the right one, and without other kernels.

    `vitref.forward`, `backward` and `trace` take it as their `backend`. For a mistake that is not one
    of code it is the backend `on`, without kernels. Where `on` is such a backend itself, it has both
    mistakes. `value` is that of the constant of a mistake with a free one. Raises BackendError for an
    unknown `on`, and ConfigError as `plant` does.
    """
    right = backends.get(on)
    edits = {name: kernel.edits for name, kernel in right.kernels.items() if hasattr(kernel, "edits")}
    for name, lines in mistake.edits_with(value).items():
        edits[name] = (*edits.get(name, ()), *lines)
    with _row_of(mistake):
        kernels = {name: edit.kernel(name, lines) for name, lines in edits.items()}
    return replace(right, name=f"{right.name}, mistaken: {mistake.name}", kernels=kernels)


def plant(mistake: Mistake, case: Case, value: float | None = None) -> Case:
    """The case with the mistake in it; the very same case where the mistake changes nothing in this model.

    value  of the constant of a mistake with a free one; None for the typical one

    Mistakes are planted one after the other where there are several. Raises CheckpointError when what a
    wrong loader makes, or wrong settings, do not fit these weights; and ConfigError for a line that stands
    nowhere, or a tensor that the model does not have.
    """
    if not all(getattr(case.weights.config, field) for field in mistake.needs):
        return case
    if mistake.edits:
        return _with_code(mistake, case, value)
    if mistake.config:
        return _with_settings(mistake, case, value)
    if mistake.tensors:
        return _with_tensors(mistake, case, value)
    return _with_pixels(mistake, case, value)


def touches(mistake: Mistake, config: Config) -> frozenset[str] | None:
    """What may be wrong where: names of components ("layer_norm", "block"), for tensors the steps that own
    them ("blocks.0.attn.qkv"), "image" for pixels. Empty where the mistake does not apply to such a model;
    None where nothing can be said. Remembered, and cheap."""
    if not all(getattr(config, field) for field in mistake.needs):
        return frozenset()
    if mistake.edits:
        return frozenset(mistake.edits) & components(config, losses=True, training=True)
    if mistake.pixels:
        return frozenset({"image"})
    return _touched(mistake, config)


@cache
def components(config: Config, *, losses: bool, training: bool) -> frozenset[str]:
    """The components of such a model; `losses` and `training`: also those that only these passes have."""
    names = {
        *("vit", "embed", "block", "attention", "attention_core", "mlp", "head", "identity", "unfold"),
        *("patch_projection", "layer_norm", "linear", "split_heads", "scores", "softmax", "context"),
        *("merge_heads", "gelu", "add"),
        "position_embedding" if config.grid == config.position_grid else "resized_position_embedding",
        "select_token" if config.pool == "token" else "mean_pool",
    }
    names |= {"class_token"} if config.class_token else set()
    names |= {"layer_scale"} if config.layer_scale else set()
    names |= {"pre_logits", "tanh"} if config.pre_logits else set()
    names |= {"supervised", "cross_entropy", "sigmoid_cross_entropy"} if losses else set()
    return frozenset(names | ({"dropout", "drop_path"} if training else set()))


def _with_code(mistake: Mistake, case: Case, value: float | None) -> Case:
    there = components(case.weights.config, losses=case.labels is not None, training=case.train is not None)
    planted = backend(mistake, case.backend, value)
    return case._replace(backend=planted) if there & mistake.edits.keys() else case


def _with_settings(mistake: Mistake, case: Case, value: float | None) -> Case:
    assert mistake.config is not None
    weights = case.weights
    with _row_of(mistake):
        config = mistake.config(weights.config, *mistake.constant(value))
    if config == weights.config:
        return case
    changed: Any = Weights(dict(weights), config, preprocessing=weights.preprocessing)
    return case._replace(weights=changed)


def _with_tensors(mistake: Mistake, case: Case, value: float | None) -> Case:
    assert mistake.tensors is not None
    weights = case.weights
    with _row_of(mistake):
        tensors = mistake.tensors(dict(weights), weights.config, *mistake.constant(value))
        changed = {name: a for name, a in tensors.items() if not np.array_equal(a, weights[name])}
    return case._replace(weights=weights.replace(changed)) if changed else case


def _with_pixels(mistake: Mistake, case: Case, value: float | None) -> Case:
    recipe = case.weights.preprocessing
    pictures = case.image.dtype.kind == "u"
    if mistake.pixels is None or (recipe is None if pictures else not mistake.on_arrays):
        return case
    with _row_of(mistake):
        image = mistake.pixels(case.image, recipe, *mistake.constant(value))
    return case if image is case.image else case._replace(image=image)


@cache
def _touched(mistake: Mistake, config: Config) -> frozenset[str] | None:
    """Of settings, and of tensors: what they do to arrays of the right shapes that hold nothing."""
    try:
        if mistake.config:
            wrong = mistake.config(config, *mistake.constant())
            fields = [name for name, value in vars(wrong).items() if value != getattr(config, name)]
            return frozenset(part for name in fields for part in SETTINGS[name])
        assert mistake.tensors is not None
        shapes = config.parameter_shapes()
        empty = {name: np.broadcast_to(np.int8(1), shape) for name, shape in shapes.items()}
        return frozenset(map(_owner, mistake.tensors(empty, config, *mistake.constant())))
    except (Error, LookupError, ValueError, TypeError):
        return None


def _owner(parameter: str) -> str:
    """The step of a parameter."""
    return parameter if parameter in ("cls_token", "pos_embed") else parameter.rpartition(".")[0]


@contextmanager
def _row_of(mistake: Mistake) -> Iterator[None]:
    """An error here is one of the catalogue, and must not pass for a mistake that is noticed."""
    try:
        yield
    except (Error, ImportError, LookupError, SyntaxError, ValueError) as error:
        raise ConfigError(
            f"the mistake {mistake.name}",
            found=f"{type(error).__name__}: {error}",
            expected="a change of code, settings, tensors or pixels that there are",
            remedy="Correct its row in vitref/verify/mistakes.",
        ) from error
