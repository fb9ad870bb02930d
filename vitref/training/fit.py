"""Fitting: gradients of the graph, AdamW on a warm-up and cosine schedule, shifted and mixed pictures.

Everything runs in float64, so that a repetition on another backend, BLAS library or number of threads ends
with nearly the same weights. All that is random follows from the seed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref import backends
from vitref.array import Array, HostArray
from vitref.backends.interface import Backend
from vitref.call import check_settings, model_arguments
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.graph import supervised
from vitref.images import normalise
from vitref.preprocessing import Preprocessing
from vitref.run import Run, Trace
from vitref.training import adamw
from vitref.training.mixup import mixed
from vitref.training.schedule import warmup_cosine
from vitref.training.shifts import shifted

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

DTYPE = "float64"

Report = Callable[[int, int, float], None]
"""Called after every update with how many were done, how many there will be, and the batch's loss."""


def silent(done: int, steps: int, loss: float) -> None:
    """The report of a run that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    epochs          passes over the examples; what is left after the last whole batch is not used
    batch           examples per update
    warmup_epochs   of the learning rate
    peak            learning rate after the warm-up (see `schedule`)
    betas, eps      of AdamW
    decay           weight decay of AdamW
    shift           most pixels that a picture is moved, up or down and to the left or right
    shift_share     how many of the pictures are moved at all
    background      the pixel value that fills what becomes free
    mixup           alpha of mixup; 0 for none
    """

    epochs: int
    batch: int
    warmup_epochs: int
    peak: float
    betas: tuple[float, float]
    eps: float
    decay: float
    shift: int
    shift_share: float
    background: int
    mixup: float


def fit(
    start: Mapping[str, HostArray],
    config: Config,
    preprocessing: Preprocessing,
    pixels: Pixels,
    labels: Labels,
    recipe: Recipe,
    *,
    seed: int,
    report: Report = silent,
    backend: str | Backend = "numpy",
) -> dict[str, HostArray]:
    """The trained parameters, float64, from the `start` ones; nothing given is changed.

    pixels   (N, H, W, C), after resize and crop: they are only moved, normalised and mixed
    labels   (N,), from 0 to config.classes - 1
    backend  one that computes in float64; its own update rule is used where it has one

    Raises ConfigError when there are fewer examples than a batch, or no epochs, and BackendError.
    """
    device = backends.get(backend)
    check_settings(device, DTYPE, device.precision[0])
    per_epoch = len(labels) // recipe.batch
    steps = recipe.epochs * per_epoch
    if steps < 1:
        raise _nothing_to_do(len(labels), recipe)
    draw = np.random.default_rng(seed)
    probabilities = np.eye(config.classes)
    rule = device.rules.get("adamw", partial(adamw.rule, xp=device.xp))
    settings: dict[str, Any] = {"betas": recipe.betas, "eps": recipe.eps, "decay": recipe.decay, "rule": rule}
    with device.scope():
        parameters = {name: device.from_host(array.astype(DTYPE), DTYPE) for name, array in start.items()}
        state = adamw.start(parameters, device.xp)
    for step, chosen in enumerate(batches(draw, len(labels), recipe)):
        image, targets = augmented(draw, pixels[chosen], probabilities[labels[chosen]], preprocessing, recipe)
        rate = warmup_cosine(step, steps=steps, warmup=recipe.warmup_epochs * per_epoch, peak=recipe.peak)
        with device.scope():
            loss, gradients = differentiate(parameters, image, targets, model_arguments(config), device)
            parameters, state = adamw.update(parameters, gradients, state, rate=rate, **settings)
        report(step + 1, steps, loss)
    with device.scope():
        return {name: device.to_host(array) for name, array in parameters.items()}


def batches(draw: np.random.Generator, count: int, recipe: Recipe) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of the examples of every update: a new order each epoch."""
    for _ in range(recipe.epochs):
        order = draw.permutation(count)
        yield from (order[i : i + recipe.batch] for i in range(0, count - recipe.batch + 1, recipe.batch))


def augmented(
    draw: np.random.Generator,
    pixels: Pixels,
    targets: HostArray,
    preprocessing: Preprocessing,
    recipe: Recipe,
) -> tuple[HostArray, HostArray]:
    """One batch as the model sees it, (N, C, H, W), and its labels as probabilities (N, classes)."""
    n = len(pixels)
    shifts = draw.integers(-recipe.shift, recipe.shift, size=(n, 2), endpoint=True)
    shifts = np.where(draw.random(n)[:, None] < recipe.shift_share, shifts, 0)
    image = normalise(shifted(pixels, shifts, background=recipe.background), preprocessing)
    if not recipe.mixup:
        return image, targets
    share, partner = draw.beta(recipe.mixup, recipe.mixup, size=n), draw.permutation(n)
    return mixed(image, partner, share), mixed(targets, partner, share)


def differentiate(
    parameters: Mapping[str, Array],
    image: HostArray,
    labels: HostArray,
    model: Mapping[str, Any],
    device: Backend,
) -> tuple[float, dict[str, Array]]:
    """The mean cross-entropy and its gradient by parameter, in arrays of the backend."""
    moved = {"image": image, "labels": labels, "one": np.ones(())}
    moved = {name: device.from_host(array, DTYPE) for name, array in moved.items()}
    with device.workspaces.taken(keep=True) as workspace:
        run = Run(
            parameters,
            xp=device.xp,
            kernels=device.kernels_at(device.precision[0]),
            workspace=workspace,
            constants=lambda build, *arguments: device.from_host(build(*arguments), DTYPE),
        )
        t = Trace(run)
        loss = t.step("", supervised, moved["image"], labels=moved["labels"], **model)
        t.undo("", moved["one"])
        run.finish()
    return float(device.to_host(loss)), run.gradients


def _nothing_to_do(examples: int, recipe: Recipe) -> ConfigError:
    return ConfigError(
        "Recipe",
        found=f"{recipe.epochs} epochs of {examples} examples in batches of {recipe.batch}",
        expected="at least one whole batch and one epoch",
        remedy="Give more epochs or examples, or a smaller batch.",
    )
