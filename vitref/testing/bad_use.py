"""Calls that must fail, the same on every backend: arguments that do not fit the model."""

from collections.abc import Callable
from typing import Any

import numpy as np

import vitref
from vitref.backends.interface import Backend
from vitref.errors import Error
from vitref.testing.answers import Posed

Call = Callable[[str | Backend], Any]


def outcome(call: Call, backend: str | Backend) -> str:
    """The kind of the error and the place it names; "no error" when there is none."""
    try:
        call(backend)
    except Error as error:
        return f"{type(error).__name__} at {error.where}"
    except Exception as error:  # whatever a backend lets through
        return type(error).__name__
    return "no error"


def calls(p: Posed) -> dict[str, Call]:
    """What is wrong -> a call with it, on a backend."""
    image, n = p.image, len(p.image)

    def forward(image: Any, **wrong: Any) -> Call:
        return lambda backend: vitref.forward(
            p.weights, image, **{"dtype": p.dtype, **wrong}, backend=backend
        )

    def backward(**arguments: Any) -> Call:
        return lambda backend: vitref.backward(p.weights, image, **arguments, dtype=p.dtype, backend=backend)

    return {
        "an image too large": forward(np.concatenate([image, image], axis=2)),
        "a channel too many": forward(np.concatenate([image, image[:, :1]], axis=1)),
        "no image": forward(image[:0]),
        "an image of five axes": forward(image[None]),
        "an image of words": forward(np.full(image.shape, "pixel")),
        "an unknown dtype": forward(image, dtype="float128"),
        "an unknown precision": forward(image, precision="exact"),
        "train settings of another kind": forward(image, train={"dropout": 0.5}),
        "neither labels nor cotangent": backward(),
        "labels for other images": backward(labels=np.zeros(n + 1, np.int64)),
        "a label out of range": backward(labels=np.full(n, max(p.weights.config.classes, 1))),
        "a cotangent of another shape": backward(cotangent={"tokens": np.ones((n, 1))}),
        "a cotangent of an unknown output": backward(cotangent={"token": np.ones((n, 1))}),
        "a cotangent that is not finite": backward(cotangent={"embed": np.full((n, 1), np.nan)}),
    }
