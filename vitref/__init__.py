"""vitref: what a Vision Transformer exactly computes, forwards and backwards.

>>> import numpy as np, vitref
>>> config = vitref.Config.variant("ViT-Ti/16", convention="timm", image_size=32, depth=1, classes=10)
>>> weights = vitref.init(config, seed=0)
>>> vitref.forward(weights, np.zeros((3, 32, 32))).shape
(1, 10)
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from vitref.api import Gradients, backward, forward, init, load, preprocess, stream, trace
from vitref.config import Config
from vitref.errors import BackendError, CheckpointError, ConfigError, Error, ImageError
from vitref.masks import Train
from vitref.preprocessing import Preprocessing
from vitref.recording import Recording
from vitref.weights import Source, Weights

if TYPE_CHECKING:
    from vitref.verify.compare import compare

__version__ = version("vitref")

__all__ = [
    "BackendError",
    "CheckpointError",
    "Config",
    "ConfigError",
    "Error",
    "Gradients",
    "ImageError",
    "Preprocessing",
    "Recording",
    "Source",
    "Train",
    "Weights",
    "backward",
    "compare",
    "forward",
    "init",
    "load",
    "preprocess",
    "stream",
    "trace",
]


def __getattr__(name: str) -> Any:
    """`compare` brings many modules along, and is imported when it is first asked for."""
    if name == "compare":
        from vitref.verify.compare import compare

        return compare
    raise AttributeError(f"module 'vitref' has no attribute {name!r}")
