"""Small random models on which a mistake is planted: what one of them hides, another shows.

No parameter is zero, one or constant; images, grids and patches are not square, heads are odd, head_dim
is not width / heads; and in `square` all lengths that can be equal are, so that no shape error helps.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vitref import backends
from vitref.array import HostArray
from vitref.config import Config
from vitref.masks import Train
from vitref.preprocessing import Preprocessing
from vitref.verify.mistakes import Case
from vitref.weights import Weights

BASE: dict[str, Any] = {
    "image_size": (8, 7),
    "patch_size": (3, 2),
    "channels": 3,
    "width": 6,
    "depth": 2,
    "heads": 3,
    "head_dim": 4,
    "mlp_width": 7,
    "classes": 4,
    "eps": 1e-5,
    "activation": "gelu",
    "pool": "token",
    "qkv_bias": True,
    "position_grid": (2, 3),
}
"""A grid of 2 by 3 patches, with two rows of pixels and one column left over."""

MODELS: dict[str, dict[str, Any]] = {
    "token": {},
    "square": {
        "image_size": (6, 6),
        "patch_size": (2, 2),
        "width": 9,
        "head_dim": 3,
        "mlp_width": 9,
        "classes": 0,
        "eps": 1e-6,
        "activation": "gelu_tanh",
        "qkv_bias": False,
        "position_grid": (3, 3),
        "class_token": False,
        "pool": "mean",
    },
    "pooled": {
        "position_grid": (3, 2),
        "position_resize": "bicubic_antialias",
        "layer_scale": True,
        "pool": "mean",
        "final_norm": "pooled",
    },
    "resized": {
        "position_grid": (5, 4),
        "position_resize": "bicubic",
        "class_position": False,
        "pool": "mean_all",
        "pre_logits": 5,
        "eps": 1e-12,
    },
    "stretched": {
        "position_grid": (2, 2),
        "position_resize": "bilinear_corners",
        "pool": "mean",
        "heads": 4,
        "head_dim": 32,
    },
    "labelled": {"activation": "gelu_tanh", "eps": 1e-2},
    "sigmoid": {"pool": "mean", "pre_logits": 6},
    "training": {"depth": 3, "layer_scale": True, "mlp_width": 6},
    "deep": {
        "depth": 11,
        "classes": 11,
        "width": 4,
        "mlp_width": 3,
        "image_size": (3, 4),
        "position_grid": (1, 2),
    },
    "pictures": {"pool": "mean"},
    "squashed": {"pool": "mean", "depth": 1},
}
"""Name -> what differs from `BASE`."""

TRAIN = Train(dropout=0.3, attention_dropout=0.2, drop_path=0.4, seed=5, step=7, first=2)
RECIPE = Preprocessing(
    size=(8, 7),
    channels=3,
    resize="shortest",
    resize_to=(10, 10),
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.4, 0.3),
)
RECIPES = {
    "pictures": RECIPE,
    "squashed": replace(
        RECIPE,
        resize="squash",
        resize_to=(8, 7),
        interpolation="bilinear",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
}
"""Models that get pictures -> how these are preprocessed."""


def cases() -> dict[str, Case]:
    """Name -> a right case; the same numbers at every call."""
    return {name: _case(name, place) for place, name in enumerate(MODELS)}


def _case(name: str, seed: int) -> Case:
    rng = np.random.default_rng([seed, 2026])
    config = Config(**{**BASE, **MODELS[name]})
    tensors = {key: _values(rng, key, shape) for key, shape in config.parameter_shapes().items()}
    right = backends.get("numpy")
    weights = Weights(tensors, config, preprocessing=RECIPES.get(name))
    if name in RECIPES:
        return Case(weights, rng.integers(0, 256, (2, 23, 31, 3), np.uint8), right)
    image = rng.standard_normal((3, config.channels, *config.image_size))
    return Case(weights, image, right, **_extra(name, rng, (3, config.classes)))


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> HostArray:
    """Affine weights about 1, biases and tables about 0, matrices that keep the size of what they meet."""
    values = rng.standard_normal(shape)
    if name.endswith("bias"):
        return 0.5 * values
    if "norm" in name:
        return 1 + 0.5 * values
    return values if len(shape) in (1, 3) else 1.5 * values / np.sqrt(np.prod(shape[1:]))


def _extra(name: str, rng: np.random.Generator, shape: tuple[int, int]) -> Mapping[str, Any]:
    if name == "labelled":
        return {"labels": rng.dirichlet(np.ones(shape[1]), size=shape[0])}
    if name == "sigmoid":
        return {"labels": rng.uniform(0, 1, shape), "loss": "sigmoid"}
    return {"train": TRAIN} if name == "training" else {}
