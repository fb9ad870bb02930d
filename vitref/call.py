"""One call of the model: its arguments checked and converted, then one pass forward and back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
from vitref.run import Run, Trace
from vitref.weights import Weights


@dataclass(frozen=True)
class Call:
    """Weights and image as the backend's arrays, in the dtype of the run."""

    weights: Weights
    parameters: Mapping[str, Array]
    image: Array
    backend: Backend
    dtype: str
    precision: str

    @classmethod
    def prepare(
        cls, weights: Weights, image: Any, backend: str | Backend, dtype: str, precision: str
    ) -> "Call":
        """Check and convert; raises ConfigError, ImageError or BackendError."""
        chosen, config = backends.get(backend), weights.config
        _one_of("dtype", dtype, chosen.dtypes)
        _one_of("precision", precision, chosen.precision)
        _check_grid(config)
        pixels, _ = images.to_batch(image, config.channels, weights.preprocessing)
        if pixels.shape[2:] != config.image_size:
            raise ImageError(
                "image",
                found=f"{pixels.shape[2]} x {pixels.shape[3]} pixels",
                expected=f"{config.image_size[0]} x {config.image_size[1]}, the model's image_size",
                remedy="Preprocess to that size; position tables are not resized in this version.",
            )
        parameters = {name: _moved(name, array, chosen, dtype) for name, array in weights.items()}
        return cls(weights, parameters, _moved("image", pixels, chosen, dtype), chosen, dtype, precision)

    @property
    def model(self) -> dict[str, Any]:
        return model_arguments(self.weights.config)

    def run(self, **options: Any) -> Run:
        return Run(self.parameters, xp=self.backend.xp, kernels=self.backend.kernels, **options)

    def labels(self, labels: Any) -> HostArray:
        """int64 (N,), or probabilities (N, classes) in the dtype of the run; raises ConfigError."""
        return _labels(labels, self.image.shape[0], self.weights.config.classes, self.dtype)

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
            "config": self.weights.config.to_dict(),
            "preprocessing": preprocessing.to_dict() if preprocessing else None,
            "weights": {"path": source.path, "format": source.format, "sha256": source.sha256},
            "provenance": dict(source.provenance),
        }


@dataclass(frozen=True)
class Pass:
    """A finished pass: the run, the image's gradient (None without a backward pass), what was given."""

    run: Run
    dimage: Array | None
    given: Mapping[str, HostArray] = field(default_factory=dict)


def run_pass(call: Call, labels: Any, cotangent: Any, record: frozenset[str] | None) -> Pass:
    """Forward, and backward when labels or a cotangent are given.

    Raises ConfigError for labels, cotangents or taps that do not fit the model.
    """
    given: dict[str, HostArray] = {}
    if labels is not None:
        given = {"labels": call.labels(labels)}
    elif cotangent is not None:
        given = call.cotangents(cotangent)
    differentiate = bool(given)
    move = call.backend.from_host
    part: Any = vit
    cotangents: dict[str, Array] = {}
    extra: dict[str, Array] = {}
    dy: Array | None = None
    if labels is None:
        cotangents = {name: move(array, call.dtype) for name, array in given.items()}
    else:
        part, extra = supervised, {"labels": move(given["labels"], given["labels"].dtype.name)}
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
            remedy="vitref trace lists them; gradients (:dy, :grad) need labels or a cotangent.",
        )


def model_arguments(config: Config) -> dict[str, Any]:
    """The static arguments of `vitref.graph.vit` for this Config."""
    names = ("patch_size", "depth", "heads", "eps", "activation", "qkv_bias", "classes")
    return {name: getattr(config, name) for name in names}


def final_output(config: Config) -> str:
    """The name of the model's final output."""
    return "logits" if config.classes else "head_input"


def _one_of(argument: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BackendError(
            argument, found=repr(value), expected=f"one of {', '.join(choices)}", remedy="Name one of these."
        )


def _check_grid(config: Config) -> None:
    if config.grid != config.position_grid:
        raise ConfigError(
            "Config.image_size",
            found=f"{config.image_size}, which gives {config.grid[0]} x {config.grid[1]} patches",
            expected=f"{config.position_grid[0]} x {config.position_grid[1]}, the grid of the position table",
            remedy="Run at the size of the table; position tables are not resized in this version.",
        )


def _moved(name: str, array: HostArray, backend: Backend, dtype: str) -> Array:
    """As the backend's array in `dtype`; raises ConfigError when a number is too large for it."""
    if array.dtype.itemsize > np.dtype(dtype).itemsize and abs(array).max() > np.finfo(dtype).max:
        raise ConfigError(
            name,
            found=f"numbers beyond the range of {dtype}",
            expected=f"numbers that {dtype} can hold",
            remedy='Use dtype="float64".',
        )
    return backend.from_host(array, dtype)


def _labels(labels: Any, n: int, classes: int, dtype: str) -> HostArray:
    def wrong(found: str, remedy: str) -> ConfigError:
        return ConfigError("labels", found=found, expected=expected, remedy=remedy)

    expected = f"{n} integers from 0 to {classes - 1}, or probabilities of shape ({n}, {classes})"
    if not classes:
        raise ConfigError(
            "labels",
            found="labels for a model without classifier",
            expected="a cotangent",
            remedy="Give cotangent= for one of its outputs.",
        )
    try:
        array = np.atleast_1d(np.asarray(labels))
    except ValueError:
        raise wrong("rows of different lengths", "Give one label per image.") from None
    found = f"shape {array.shape}, dtype {array.dtype}"
    if array.dtype.kind in "iu" and array.shape == (n,):
        outside = array[(array < 0) | (array >= classes)]
        if outside.size:
            raise wrong(f"{', '.join(map(str, outside[:5]))}", "Count the classes from 0.")
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.shape == (n, classes):
        if not np.isfinite(array).all() or (array < 0).any() or (abs(array.sum(axis=1) - 1) > 1e-3).any():
            raise wrong(f"{found}, with rows that do not sum to 1", "Give probabilities.")
        return array.astype(dtype)
    raise wrong(found, "Give one integer per image, or one row of probabilities per image.")


def _cotangent(name: str, array: Any, dtype: str) -> HostArray:
    try:
        values = np.asarray(array)
    except ValueError:
        values = np.asarray(None)
    if values.dtype.name not in images.FLOATS or not np.isfinite(values).all():
        raise ConfigError(
            f"cotangent[{name!r}]",
            found=f"{type(array).__name__} of dtype {values.dtype}",
            expected="an array of finite floating-point numbers",
            remedy="Give a float32 or float64 array with the shape of that output.",
        )
    return values.astype(dtype)
