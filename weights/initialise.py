"""Fresh weights, drawn as timm draws them.

Source: timm/models/vision_transformer.py (VisionTransformer.init_weights, init_weights_vit_timm):
linear weights and position table normal with std 0.02, class token normal with std 1e-6, linear
biases 0; the patch embedding, a convolution, keeps PyTorch's own start, uniform within
1 / sqrt(inputs) for weight and bias; LayerNorm 1 and 0. timm truncates its normals at +-2, which is
100 standard deviations and never happens.
"""

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref.config import Config
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights.container import Source, Weights, known_dtype

STD = 0.02
CLASS_TOKEN_STD = 1e-6


def init(
    config: Config, seed: int, *, dtype: str = "float32", preprocessing: Preprocessing | None = None
) -> Weights:
    """Fresh weights; a tensor depends on the seed and its own name and shape only.

    dtype  float64, float32, float16 or bfloat16; values are drawn in float64 and rounded

    Raises ConfigError for a wrong config or seed, and BackendError for an unknown dtype.
    """
    target = known_dtype(dtype)
    if type(seed) is not int or seed < 0:
        raise ConfigError(
            "seed",
            found=repr(seed),
            expected="a whole number of at least 0",
            remedy="Give seed= such a number.",
        )
    if not isinstance(config, Config):
        raise ConfigError(
            "config",
            found=ascii(config),
            expected="a vitref.Config",
            remedy="Make one with Config(...) or Config.variant.",
        )
    shapes = config.parameter_shapes()
    tensors = {name: _draw(name, shape, seed, config).astype(target) for name, shape in shapes.items()}
    provenance = dict.fromkeys(config.to_dict(), "argument config")
    if isinstance(preprocessing, Preprocessing):
        provenance = {**dict.fromkeys(preprocessing.to_dict(), "argument preprocessing"), **provenance}
    source = Source(format="init", provenance=provenance)
    return Weights(tensors, config, preprocessing=preprocessing, source=source)


def _draw(name: str, shape: tuple[int, ...], seed: int, config: Config) -> npt.NDArray[Any]:
    draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.startswith("patch_embed."):
        bound = 1 / math.sqrt(config.channels * math.prod(config.patch_size))
        return draw.uniform(-bound, bound, shape)
    if name == "cls_token":
        return draw.normal(0, CLASS_TOKEN_STD, shape)
    if name == "pos_embed" or (len(shape) == 2):
        return draw.normal(0, STD, shape)
    is_scale = name.endswith("weight")
    return np.ones(shape) if is_scale else np.zeros(shape)
