"""One call of the model: its arguments checked and converted, then one pass forward and back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

import numpy as np

from vitref import backends, images
from vitref.array import Array, HostArray
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import BackendError, ConfigError, ImageError
from vitref.graph import supervised, vit
from vitref.images.sources import listed
from vitref.labels import check
from vitref.masks import Train
from vitref.resampling import RECIPES
from vitref.run import Run, Trace
from vitref.weights import Weights


@dataclass(frozen=True)
class Call:
    """Weights and image as the backend's arrays, in the dtype of the run.

    pictures   names of the pictures that the image was made of; None when it came preprocessed
    """

    weights: Weights
    parameters: Mapping[str, Array]
    image: Array
    backend: Backend
    dtype: str
    precision: str
    pictures: list[str] | None
    train: Train | None

    @classmethod
    def prepare(
        cls,
        weights: Weights,
        image: Any,
        backend: str | Backend,
        dtype: str,
        precision: str,
        train: Train | None = None,
    ) -> "Call":
        """Check and convert; raises ConfigError, ImageError or BackendError."""
        chosen, config = backends.get(backend), weights.config
        _one_of("dtype", dtype, chosen.dtypes)
        _one_of("precision", precision, chosen.precision)
        _check_resize(config)
        pixels, decoded = images.to_batch(image, config.channels, weights.preprocessing)
        if pixels.shape[2:] != config.image_size:
            raise ImageError(
                "image",
                found=f"{pixels.shape[2]} x {pixels.shape[3]} pixels",
                expected=f"{config.image_size[0]} x {config.image_size[1]}, the model's image_size",
                remedy="Preprocess to that size, or load the weights with image_size=.",
            )
        parameters = {name: _moved(name, array, chosen, dtype) for name, array in weights.items()}
        own = _moved("image", pixels if decoded else pixels.copy(), chosen, dtype)
        pictures = [name for name, _ in listed(image)] if decoded else None
        return cls(weights, parameters, own, chosen, dtype, precision, pictures, _train(train))

    @property
    def model(self) -> dict[str, Any]:
        """The static arguments of `vitref.graph.vit`."""
        return {**model_arguments(self.weights.config), "train": self.train}

    def run(self, **options: Any) -> Run:
        return Run(
            self.parameters,
            xp=self.backend.xp,
            kernels=self.backend.kernels,
            constants=self._constant,
            masks=self._mask if self.train else None,
            **options,
        )

    def _constant(self, build: Callable[..., HostArray], *arguments: Any) -> Array:
        return self.backend.from_host(build(*arguments), self.dtype)

    def _mask(self, path: str, shape: tuple[int, ...], rate: float) -> Array:
        assert self.train is not None
        return self.backend.from_host(self.train.mask(path, shape, rate), self.dtype)

    def cotangents(self, cotangent: Any) -> dict[str, HostArray]:
        """Named output -> cotangent in the dtype of the run; one array is for the final output."""
        given = (
            cotangent if isinstance(cotangent, Mapping) else {final_output(self.weights.config): cotangent}
        )
        if not given:
            raise ConfigError(
                "cotangent",
                found="an empty mapping",
                expected="at least one named output",
                remedy="Name one.",
            )
        return {str(name): _cotangent(str(name), array, self.dtype) for name, array in given.items()}

    def about(self) -> dict[str, Any]:
        """What made the result, as plain values for JSON."""
        source, preprocessing = self.weights.source, self.weights.preprocessing
        return {
            "vitref": version("vitref"),
            "numpy": np.__version__,
            "backend": self.backend.name,
            "dtype": self.dtype,
            "precision": self.precision,
            "train": asdict(self.train) if self.train else None,
            "config": self.weights.config.to_dict(),
            "pictures": self.pictures,
            "preprocessing": preprocessing.to_dict() if preprocessing and self.pictures else None,
            "weights": {"path": source.path, "format": source.format, "sha256": source.sha256},
            "provenance": dict(source.provenance),
        }


@dataclass(frozen=True)
class Pass:
    """A finished pass: the run, the image's gradient (None without a backward pass), what was given."""

    run: Run
    dimage: Array | None
    given: Mapping[str, HostArray] = field(default_factory=dict)


def run_pass(
    call: Call,
    record: frozenset[str] | None,
    *,
    labels: Any = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    cotangent: Any = None,
) -> Pass:
    """Forward, and backward when labels or a cotangent are given.

    Raises ConfigError for labels, cotangents or taps that do not fit the model.
    """
    given: dict[str, HostArray] = {}
    _check_loss(labels, loss, label_smoothing)
    if labels is not None:
        n, classes = call.image.shape[0], call.weights.config.classes
        given = {"labels": check(labels, n, classes, loss, label_smoothing, call.dtype)}
    elif cotangent is not None:
        given = call.cotangents(cotangent)
    differentiate = bool(given)
    move = call.backend.from_host
    part: Any = vit
    cotangents: dict[str, Array] = {}
    extra: dict[str, Any] = {}
    dy: Array | None = None
    if labels is None:
        cotangents = {name: move(array, call.dtype) for name, array in given.items()}
    else:
        part, extra = supervised, {"labels": move(given["labels"], given["labels"].dtype.name), "loss": loss}
        dy = move(np.ones((), call.dtype), call.dtype)
    run = call.run(keep=differentiate, record=record, cotangents=cotangents)
    t = Trace(run)
    t.step("", part, call.image, **call.model, **extra)
    known("cotangent", cotangents, run.outputs)
    if record is not None:
        known("only", record, tap_names(run, differentiate))
    if not differentiate:
        return Pass(run, None)
    dimage = t.undo("", dy)
    run.finish()
    names = {"labels": "labels"} if labels is not None else {name: f"cotangent.{name}" for name in given}
    return Pass(
        run, run.zeros("image") if dimage is None else dimage, {names[k]: v for k, v in given.items()}
    )


def tap_names(run: Run, differentiate: bool) -> list[str]:
    """Everything that `only` may name after the forward pass of `run`."""
    names = list(run.outputs)
    if differentiate:
        names += [f"{name}:dy" for name in run.outputs] + [f"{name}:grad" for name in run.parameters]
    return names


def known(argument: str, names: Iterable[str], available: Iterable[str]) -> None:
    """Raise ConfigError unless every name is available; the closest ones are proposed."""
    available = list(available)
    unknown = sorted(set(names) - set(available))
    if unknown:
        close = {match: None for name in unknown for match in get_close_matches(name, available, n=3)}
        raise ConfigError(
            argument,
            found=f"no output called {', '.join(unknown)}",
            expected=f"one of {len(available)} names, such as {', '.join(list(close) or available[:5])}",
            remedy="vitref info WEIGHTS --taps lists them; :dy and :grad need labels or a cotangent.",
        )


def model_arguments(config: Config) -> dict[str, Any]:
    """The static arguments of `vitref.graph.vit` in evaluation."""
    return {"config": config}


def final_output(config: Config) -> str:
    """The name of the model's final output."""
    return "logits" if config.classes else "head_input"


def _check_loss(labels: Any, loss: Any, label_smoothing: Any) -> None:
    """The settings of a loss that is not there would do nothing, so they are refused."""
    if not isinstance(loss, str) or loss not in supervised.LOSSES:
        losses = ", ".join(supervised.LOSSES)
        raise ConfigError("loss", found=repr(loss), expected=f"one of {losses}", remedy="Name one of these.")
    smoothed = not isinstance(label_smoothing, (int, float)) or label_smoothing != 0
    if labels is None and (loss != "cross_entropy" or smoothed):
        raise ConfigError(
            "loss, label_smoothing",
            found=f"{loss!r}, {label_smoothing!r} without labels",
            expected="labels, whose loss they describe",
            remedy="Give labels=, or leave the two out.",
        )


def _one_of(argument: str, value: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise BackendError(
            argument, found=repr(value), expected=f"one of {', '.join(choices)}", remedy="Name one of these."
        )


def _check_resize(config: Config) -> None:
    if config.grid != config.position_grid and not config.position_resize:
        raise ConfigError(
            "Config.position_resize",
            found=f"no recipe, for a position table of {config.position_grid} at a grid of {config.grid}",
            expected=f"one of {', '.join(RECIPES)}: official sources disagree",
            remedy="Load with position_resize= or convention=, or run at the image_size of the table.",
        )


def _train(train: Any) -> Train | None:
    if train is None or isinstance(train, Train):
        return train
    raise ConfigError(
        "train", found=repr(train), expected="a vitref.Train", remedy="Give train=vitref.Train(...)."
    )


def _moved(name: str, array: HostArray, backend: Backend, dtype: str) -> Array:
    return backend.from_host(fitting(name, array, dtype), dtype)


def fitting(name: str, array: HostArray, dtype: str) -> HostArray:
    """The array as it is; raises ConfigError when a number in it is too large for `dtype`."""
    if array.dtype.itemsize > np.dtype(dtype).itemsize and np.abs(array).max(initial=0) > np.finfo(dtype).max:
        raise ConfigError(
            name,
            found=f"numbers beyond the range of {dtype}",
            expected=f"numbers that {dtype} can hold",
            remedy='Use dtype="float64".',
        )
    return array


def _cotangent(name: str, array: Any, dtype: str) -> HostArray:
    try:
        values = np.asarray(array)
    except (TypeError, ValueError):
        values = np.asarray(None)
    sound = values.dtype.name in images.FLOATS and not isinstance(array, np.ma.MaskedArray)
    if not sound or not np.isfinite(values).all():
        raise ConfigError(
            f"cotangent[{name!r}]",
            found=f"{type(array).__name__} of dtype {values.dtype}",
            expected="an array of finite floating-point numbers",
            remedy="Give a float32 or float64 array with the shape of that output.",
        )
    return fitting(f"cotangent[{name!r}]", values, dtype).astype(dtype)
