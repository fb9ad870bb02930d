"""What the bugs are planted in: small random models, none of whose parameters is trivial, or a checkpoint."""

import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vitref import api
from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ImageError
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights

PLAIN: dict[str, Any] = {
    "image_size": (20, 20),
    "patch_size": (4, 4),
    "channels": 3,
    "width": 48,
    "depth": 3,
    "heads": 3,
    "mlp_width": 96,
    "classes": 10,
    "eps": 1e-6,
    "activation": "gelu",
    "pool": "token",
    "qkv_bias": True,
    "position_grid": (5, 5),
    "class_token": True,
    "class_position": True,
    "final_norm": "tokens",
    "layer_scale": False,
    "pre_logits": 0,
    "position_resize": "",
}

MODELS: dict[str, dict[str, Any]] = {
    "token": {},
    "mean": {
        "pool": "mean",
        "activation": "gelu_tanh",
        "eps": 1e-5,
        "layer_scale": True,
        "heads": 5,
        "width": 40,
        "image_size": (20, 24),
        "position_grid": (5, 6),
    },
    "all": {"pool": "mean_all", "pre_logits": 32, "class_position": False},
    "resized": {"position_grid": (4, 4), "position_resize": "bicubic", "image_size": (24, 20)},
    "shrunk": {"position_grid": (8, 8), "position_resize": "bilinear_antialias"},
    "turned": {"position_grid": (8, 3), "position_resize": "bilinear", "image_size": (16, 24)},
    "deep": {"depth": 12, "width": 24, "mlp_width": 48},
}
"""Name -> what it has otherwise than `PLAIN`."""


class Checkpoint(NamedTuple):
    """path, convention, architecture, fields  as `vitref.load` takes them
    images  paths of pictures
    """

    path: str
    images: tuple[str, ...]
    convention: str | None = None
    architecture: str | None = None
    fields: tuple[tuple[str, Any], ...] = ()


class Place(NamedTuple):
    """model  a name in `MODELS`, or "checkpoint" """

    model: str
    seed: int = 0
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Problem:
    """pictures  uint8 (N, H, W, 3), or paths
    labels    integers (N,)
    """

    name: str
    weights: Weights
    pictures: Any
    labels: HostArray

    @cached_property
    def image(self) -> HostArray:
        """What enters the model: float64 (N, C, H, W)."""
        return api.preprocess(list(self.pictures), self.weights)

    @property
    def config(self) -> Config:
        return self.weights.config


@lru_cache(maxsize=2)
def at(place: Place) -> Problem:
    """The problem of this place, built once."""
    if place.checkpoint is None:
        return small(place.model, seed=place.seed)
    given = place.checkpoint
    weights = api.load(
        given.path, convention=given.convention, architecture=given.architecture, **dict(given.fields)
    )
    pictures = [picture(path) for path in given.images]
    labels = np.arange(len(pictures)) * 7 % weights.config.classes
    return Problem("checkpoint", weights, pictures, labels)


def picture(path: str) -> HostArray:
    """uint8 (H, W, 3). Raises ImageError for what is no picture."""
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ImageError(
            path, found=str(error), expected="a picture that Pillow reads", remedy="Check the path."
        ) from None


def small(name: str, *, seed: int = 0, batch: int = 2) -> Problem:
    """The small model of this name with random weights, and random pictures."""
    config = Config(**{**PLAIN, **MODELS[name]})
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    shapes = config.parameter_shapes()
    tensors = {parameter: _values(rng, parameter, shape) for parameter, shape in shapes.items()}
    weights = Weights(tensors, config, preprocessing=_recipe(config))
    return Problem(name, weights, _pictures(rng, batch), rng.integers(0, config.classes, batch))


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> HostArray:
    values = rng.standard_normal(shape)
    if name.endswith("bias"):
        return 0.3 * values
    if "norm" in name or name.endswith("gamma"):
        return 1 + 0.3 * values
    if name in ("cls_token", "pos_embed"):
        return 0.5 * values
    return np.asarray(1.2 * values / np.sqrt(np.prod(shape[1:])))


def _recipe(config: Config) -> Preprocessing:
    """timm's: the shortest side a tenth longer than the crop, bicubic, mean and std 0.5."""
    height, width = config.image_size
    to = (round(height / 0.9), round(height / 0.9) * width // height)
    to = (max(to[0], height), max(to[1], width))
    return Preprocessing(
        size=(height, width),
        channels=3,
        resize="shortest",
        resize_to=to,
        interpolation="bicubic",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


def _pictures(rng: np.random.Generator, batch: int) -> HostArray:
    """Smooth coloured waves with noise: every resize and every channel tells."""
    y, x = np.mgrid[0:44, 0:52] / 10
    waves = [
        [a * np.sin(b * y + c * x + d) for a, b, c, d in rng.uniform(1, 4, (3, 4))] for _ in range(batch)
    ]
    values = 128 + 25 * np.array(waves) + 15 * rng.standard_normal((batch, 3, 44, 52))
    return np.asarray(np.clip(values, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
