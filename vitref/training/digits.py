"""The handwritten digits behind the bundled checkpoint: data, split, model, recipe, evaluation.

The data are scikit-learn's `load_digits`: 1797 pictures of 8 x 8 pixels, the test part of the UCI
"Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, CC BY 4.0). They come
writer by writer, and the labels follow nearly the same order each time. Every seventh picture is held
out: every writer and every digit is then in both parts. (Every fifth or tenth would favour some digits:
a writer begins with 0 to 9, three times.)
"""

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import vitref
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.preprocessing import Preprocessing
from vitref.training.fit import Labels, Pixels, Recipe, Report, fit, silent
from vitref.weights import Source, Weights
from vitref.weights.initialise import STD

FOLD, HELD_OUT = 7, 6
"""A picture is held out when its index leaves the remainder `HELD_OUT` on division by `FOLD`."""

INK = 16
"""The largest value in the data: the number of black pixels in a square of 4 x 4."""

PREPROCESSING = Preprocessing(
    size=(8, 8),
    channels=1,
    resize="squash",
    resize_to=(8, 8),
    interpolation="bicubic",
    mean=(0.305,),
    std=(0.376,),
)
"""Mean and standard deviation are those of all 1797 pictures, to three digits."""

CONFIG = Config(
    image_size=(8, 8),
    patch_size=(2, 2),
    channels=1,
    width=48,
    depth=3,
    heads=3,
    mlp_width=144,
    classes=10,
    eps=1e-6,
    activation="gelu",
    pool="token",
    qkv_bias=True,
    position_grid=(4, 4),
)

POSITION_STD = 0.3
"""Standard deviation with which the position table begins (see `start`)."""

RECIPE = Recipe(
    epochs=100,
    batch=64,
    warmup_epochs=5,
    peak=4e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    decay=0.05,
    shift=1,
    shift_share=0.5,
    background=0,
    mixup=0.4,
)


class Digits(NamedTuple):
    """Some of the digits.

    pixels     (N, 8, 8, 1), white on black
    labels     (N,), 0 to 9
    positions  (N,), in the data set
    """

    pixels: Pixels
    labels: Labels
    positions: npt.NDArray[np.int64]


class Score(NamedTuple):
    """How many of `total` pictures are right, and (position, label, predicted) of the others."""

    total: int
    right: int
    wrong: list[tuple[int, int, int]]

    @property
    def accuracy(self) -> float:
        return self.right / self.total


def load() -> Digits:
    """All 1797 digits, 0 to 16 scaled to 0 to 255. Raises ConfigError when scikit-learn is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError(
            "training data",
            found="no scikit-learn, which holds the digits",
            expected="the extra `train` to be installed",
            remedy='Run: pip install "vitref[train]".',
        )
    data = importlib.import_module("sklearn.datasets").load_digits()
    pixels = np.rint(data.images[..., None] * (255 / INK)).astype(np.uint8)
    return Digits(pixels, data.target.astype(np.int64), np.arange(len(pixels)))


def split(digits: Digits) -> tuple[Digits, Digits]:
    """(for training, held out): together all, none in both."""
    held_out = digits.positions % FOLD == HELD_OUT
    return subset(digits, ~held_out), subset(digits, held_out)


def subset(digits: Digits, which: npt.NDArray[np.bool_]) -> Digits:
    """The digits where `which` (N,) is true."""
    return Digits(digits.pixels[which], digits.labels[which], digits.positions[which])


def start(seed: int) -> Weights:
    """The weights before the first update, float64: those of `vitref.init`, wider spread.

    Its standard deviation suits wide models. Here a matrix begins with 1 / sqrt(inputs), which keeps
    the variance, and the position table with `POSITION_STD`, of the size of the embedded patches.
    """
    drawn = vitref.init(CONFIG, seed, dtype="float64")
    spread = {name: array.shape[1] ** -0.5 for name, array in drawn.items() if array.ndim == 2}
    spread["pos_embed"] = POSITION_STD
    return drawn.replace({name: drawn[name] * (std / STD) for name, std in spread.items()})


def train(
    digits: Digits, recipe: Recipe, *, seed: int, report: Report = silent, backend: str | Backend = "numpy"
) -> Weights:
    """Trained weights, float32.

    Raises ConfigError for a wrong seed or too few epochs or digits, and BackendError.
    """
    settings: dict[str, Any] = {"seed": seed, "report": report, "backend": backend}
    trained = fit(start(seed), CONFIG, PREPROCESSING, digits.pixels, digits.labels, recipe, **settings)
    fields = {**CONFIG.to_dict(), **PREPROCESSING.to_dict()}
    return Weights(
        {name: array.astype(np.float32) for name, array in trained.items()},
        CONFIG,
        preprocessing=PREPROCESSING,
        source=Source(provenance=dict.fromkeys(fields, "vitref train digits")),
    )


def evaluate(weights: Weights, digits: Digits) -> Score:
    """The most probable class against the label, for every picture, in float64.

    Raises ConfigError when the model does not take such pictures or does not have ten classes.
    """
    config = weights.config
    if (config.image_size, config.channels, config.classes) != ((8, 8), 1, 10):
        raise ConfigError(
            weights.source.path or "weights",
            found=f"images of {config.image_size}, {config.channels} channels and {config.classes} classes",
            expected="a model of the digits: images of (8, 8), 1 channel and 10 classes",
            remedy="Give a checkpoint that `vitref train digits` made.",
        )
    predicted = vitref.forward(weights, digits.pixels, dtype="float64").argmax(axis=1)
    missed = np.flatnonzero(predicted != digits.labels)
    wrong = [(int(digits.positions[i]), int(digits.labels[i]), int(predicted[i])) for i in missed]
    return Score(len(predicted), len(predicted) - len(wrong), wrong)
