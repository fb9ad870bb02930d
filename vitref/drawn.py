"""Small models with weights, image and labels drawn from a seed: a trace that needs no checkpoint.

The numbers are the same bits on every machine and in every version of NumPy: words of 32 bits of
Philox4x32-10 (see `vitref.masks`), then nothing but sums, products and roots, which IEEE 754 fixes. Element i
of the tensor NAME is made from word i mod 4 of the counter (i div 4, 0, crc32(NAME), 2^32 - 1) under the
key (seed mod 2^32, seed div 2^32): the odd number 2 (word div 2^8) + 1, divided by 2^24, less 1. Every value
is then rounded to float32, so that a float32 program gets the same model.
"""

import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.masks import Words, philox
from vitref.weights import Source, Weights

IMAGES = 2

VARIANTS: dict[str, dict[str, Any]] = {
    "tiny-test": {
        "image_size": (8, 9),
        "patch_size": (4, 3),
        "channels": 3,
        "width": 12,
        "depth": 3,
        "heads": 3,
        "mlp_width": 30,
        "classes": 5,
        "eps": 1e-6,
        "activation": "gelu",
        "pool": "token",
        "qkv_bias": True,
        "position_grid": (2, 3),
    }
}
"""Name -> Config fields. Image, patch and grid are not square, heads are odd, all lengths differ."""


class Drawn(NamedTuple):
    """weights  float64 values that are float32 numbers; none is zero or one
    image    (2, C, H, W) float64, float32 numbers in (-2, 2), taken as preprocessed
    labels   (2,) integers
    """

    weights: Weights
    image: HostArray
    labels: HostArray


def draw(variant: str, seed: int) -> Drawn:
    """The model of this name and what it is shown. Raises ConfigError for an unknown name or a wrong seed."""
    if variant not in VARIANTS:
        raise ConfigError(
            "variant",
            found=repr(variant),
            expected=f"one of {', '.join(VARIANTS)}",
            remedy="Give one of these; for a model of a published size, save weights made by vitref.init.",
        )
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise ConfigError(
            "seed",
            found=repr(seed),
            expected="a whole number from 0 to 2^64 - 1",
            remedy="Give another seed.",
        )
    config = Config(**VARIANTS[variant])
    image = 2 * uniform(seed, "image", (IMAGES, config.channels, *config.image_size))
    labels = words(seed, "labels", IMAGES).astype(np.int64) % config.classes
    return Drawn(draw_weights(config, seed, f"variant {variant}, seed {seed}"), image, labels)


def draw_weights(config: Config, seed: int, origin: str) -> Weights:
    """float64 weights, all of them about the size that keeps activations about 1. `origin`: for `source`."""
    shapes = config.parameter_shapes()
    tensors = {name: _parameter(seed, name, shape) for name, shape in shapes.items()}
    source = Source(format="init", provenance=dict.fromkeys(config.to_dict(), origin))
    return Weights(tensors, config, source=source)


def _parameter(seed: int, name: str, shape: tuple[int, ...]) -> HostArray:
    """Scales in 0.5 .. 1.5, biases in -0.5 .. 0.5, tables in -1 .. 1, matrices as their inputs ask."""
    values = uniform(seed, name, shape)
    if name.endswith("bias"):
        values = 0.5 * values
    elif "norm" in name or name.endswith("gamma"):
        values = 1 + 0.5 * values
    elif len(shape) in (2, 4):
        values = values * (2.5 / math.sqrt(math.prod(shape[1:])))
    return values.astype(np.float32).astype(np.float64)


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> HostArray:
    """Odd multiples of 2^-24 in (-1, 1), float64: float32 numbers, never zero."""
    odd = 2 * (words(seed, name, math.prod(shape)) >> np.uint32(8)).astype(np.float64) + 1
    return np.asarray(odd * 2.0**-24 - 1).reshape(shape)


def words(seed: int, name: str, count: int) -> Words:
    """`count` random words, which depend on the seed and the name alone."""
    counters = np.zeros((-(-count // 4), 4), np.uint32)
    counters[:, 0] = np.arange(len(counters), dtype=np.uint32)
    counters[:, 2] = zlib.crc32(name.encode())
    counters[:, 3] = 0xFFFFFFFF
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32)
    return philox(counters, key).reshape(-1)[:count]
