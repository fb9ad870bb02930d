"""What an implementation of a whole model must refuse, rather than compute something."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import vitref
from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import Error
from vitref.verify.mistakes import Case
from vitref.verify.vectors import model
from vitref.verify.vectors.vector import Group, Vector

Change = Callable[[dict[str, Any], dict[str, HostArray]], None]
"""Changes the fields of the Config and the inputs, in place."""


def _config(**fields: Any) -> Change:
    return lambda config, inputs: config.update(fields)


def _removed(start: str) -> Change:
    """Without the inputs whose names begin so."""

    def change(config: dict[str, Any], inputs: dict[str, HostArray]) -> None:
        for name in [name for name in inputs if name.startswith(start)]:
            del inputs[name]

    return change


def _array(name: str, new: Callable[[HostArray], HostArray], under: str = "") -> Change:
    def change(config: dict[str, Any], inputs: dict[str, HostArray]) -> None:
        inputs[under or name] = new(inputs[name])

    return change


def _with(array: HostArray, value: float) -> HostArray:
    """The array with another last element."""
    changed = array.copy()
    changed.flat[-1] = value
    return changed


CHANGES: dict[str, Change] = {
    "a parameter is missing": _removed("weight.blocks.1.norm2.bias"),
    "a block is missing": _removed("weight.blocks.2."),
    "a parameter too many": _array("weight.norm.bias", lambda a: a, "weight.fc_norm.bias"),
    "a bias that the Config says is not there": _config(qkv_bias=False),
    "a weight transposed": _array("weight.blocks.0.mlp.fc1.weight", lambda a: a.T),
    "a position table one row short": _array("weight.pos_embed", lambda a: a[:, 1:]),
    "a patch kernel with its channels last": _array(
        "weight.patch_embed.proj.weight", lambda a: np.moveaxis(a, 1, -1)
    ),
    "a weight that is not a number": _array("weight.head.bias", lambda a: _with(a, np.nan)),
    "a weight that is infinite": _array("weight.cls_token", lambda a: _with(a, np.inf)),
    "an image of one channel less": _array("image", lambda a: a[:, 1:]),
    "an image of another height": _array("image", lambda a: a[:, :, 1:]),
    "an image with its channels last": _array("image", lambda a: np.moveaxis(a, 1, -1)),
    "a label as large as the number of classes": _array("labels", lambda a: a * 0 + 5),
    "a negative label": _array("labels", lambda a: a * 0 - 1),
    "a label too few": _array("labels", lambda a: a[1:]),
    "labels that are probabilities and do not sum to 1": _array("labels", lambda a: np.full((2, 5), 0.25)),
    "heads that do not divide the width": _config(heads=5, head_dim=0),
    "an image smaller than a patch": _config(image_size=[3, 9]),
    "eps of zero": _config(eps=0.0),
    "an unknown activation": _config(activation="relu"),
    "pooling by a class token that there is not": _config(class_token=False),
}
"""What is wrong -> how `tiny-test` is changed to be so."""


def group(case: Case) -> Group:
    """`tiny-test`, spoilt in every way of `CHANGES`. Raises AssertionError when vitref takes one of them."""
    about = {
        "what": "What a model must refuse: Config, parameters, image or labels that do not fit.",
        "source": model.SOURCE,
    }
    return Group("model", "refused", about, tuple(_vectors(case)))


def _vectors(case: Case) -> Iterator[Vector]:
    for note, change in CHANGES.items():
        settings, inputs = model.settings(case), model.inputs(case)
        change(settings["config"], inputs)
        try:
            _run(settings, inputs)
        except Error:
            yield Vector("rejected", note, settings, inputs)
            continue
        raise AssertionError(f"vitref takes what it should refuse: {note}")


def _run(settings: dict[str, Any], inputs: dict[str, HostArray]) -> None:
    weights = {k.removeprefix("weight."): a for k, a in inputs.items() if k.startswith("weight.")}
    config = Config(**settings["config"])
    loaded = vitref.Weights(weights, config)
    vitref.backward(loaded, inputs["image"], inputs["labels"], loss=settings["loss"], dtype="float64")
