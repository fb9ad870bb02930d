"""What is measured: the cases, and the random model and pictures that every candidate gets."""

import math
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitref.array import HostArray
from vitref.config import Config

DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "float64", "bfloat16", "float16")
PRECISIONS = ("strict", "fp32x3", "tf32")
PASSES = ("forward", "backward")
"""A backward pass is the forward pass, the loss, and the gradients of all parameters and of the image."""

STORED = {"float64": "float64"}
"""Dtype of a case -> that of the numbers every candidate gets and converts; float32 for all others."""

STD = 0.02


class Case(NamedTuple):
    """model       as in `Config.variant`
    batch       pictures at a time
    dtype       of weights and activations
    direction   one of `PASSES`
    precision   how float32 matrices are multiplied: one of `PRECISIONS`
    image_size  pixels of a side
    depth       number of blocks; 0 for that of the model
    device      one of `DEVICES`
    """

    model: str
    batch: int
    dtype: str
    direction: str
    precision: str = "strict"
    image_size: int = 224
    depth: int = 0
    device: str = "cpu"

    @property
    def config(self) -> Config:
        """Raises ConfigError for an unknown model, or pictures smaller than a patch."""
        depth: dict[str, Any] = {"depth": self.depth} if self.depth else {}
        return Config.variant(self.model, convention="timm", image_size=self.image_size, **depth)


class Problem(NamedTuple):
    """What every candidate computes with: the same numbers for all of them."""

    config: Config
    tensors: dict[str, HostArray]
    image: HostArray
    labels: npt.NDArray[np.int64]


def problem(case: Case) -> Problem:
    """Weights normal with std 0.02, truncated at two of them; LayerNorm weights about 1; pictures normal."""
    config, stored = case.config, STORED.get(case.dtype, "float32")
    tensors = {name: _draw(name, shape, stored) for name, shape in config.parameter_shapes().items()}
    rng = np.random.default_rng(0)
    image = rng.standard_normal((case.batch, config.channels, *config.image_size)).astype(stored)
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
