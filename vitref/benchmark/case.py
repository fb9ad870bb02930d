"""What is measured: the cases, and the random model and pictures that every candidate gets."""

import math
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitref.array import HostArray
from vitref.config import Config

MODELS = ("ViT-Ti/16", "ViT-B/16")
BATCHES = (1, 8)
DTYPES = ("float32", "float64")
PASSES = ("forward", "backward")
"""A backward pass is the forward pass, the loss, and the gradients of all parameters and of the image."""

STD = 0.02


class Case(NamedTuple):
    """model as in `Config.variant`, at 224 pixels; batch; dtype; direction: one of `PASSES`."""

    model: str
    batch: int
    dtype: str
    direction: str


class Problem(NamedTuple):
    """What every candidate computes with: the same numbers for all of them, in the dtype of the case."""

    config: Config
    tensors: dict[str, HostArray]
    image: HostArray
    labels: npt.NDArray[np.int64]


def problem(case: Case) -> Problem:
    """Weights normal with std 0.02, truncated at two of them; LayerNorm weights about 1; pictures normal."""
    config = Config.variant(case.model, convention="timm")
    tensors = {name: _draw(name, shape, case.dtype) for name, shape in config.parameter_shapes().items()}
    rng = np.random.default_rng(0)
    image = rng.standard_normal((case.batch, config.channels, *config.image_size)).astype(case.dtype)
    return Problem(config, tensors, image, rng.integers(0, config.classes, case.batch))


def _draw(name: str, shape: tuple[int, ...], dtype: str) -> HostArray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(math.prod(shape), np.float32)
    while (outside := np.flatnonzero(np.abs(values) > 2)).size:
        values[outside] = rng.standard_normal(outside.size, np.float32)
    values *= np.float32(STD)
    if "norm" in name and name.endswith("weight"):
        values += 1
    return values.reshape(shape).astype(dtype, copy=False)
