"""One call of the model: its arguments checked and converted, then one pass forward and back."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

import ml_dtypes
import numpy as np

from vitref import backends, images, interchange
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

SHORT_DTYPES = ("bfloat16", "float16")
"""Dtypes of storage alone: losses and results of such a run are float32."""


@dataclass(frozen=True)
class Call:
    """Weights and image as the backend's arrays, in the dtype of the run.

    pictures   names of the pictures that the image was made of; None when it came preprocessed
    give_back  makes a result an array of the library that the image came from; None for NumPy's
    """

    weights: Weights
    parameters: Mapping[str, Array]
    image: Array
    backend: Backend
    dtype: str
    precision: str
    pictures: list[str] | None
    train: Train | None
    check_finite: bool
    give_back: interchange.GiveBack | None

    @classmethod
    def prepare(
        cls,
        weights: Weights,
        image: Any,
        backend: str | Backend,
        dtype: str,
        precision: str,
        train: Train | None = None,
        check_finite: bool = False,
    ) -> "Call":
        """Check and convert; raises ConfigError, ImageError or BackendError."""
        chosen, config = backends.get(backend), weights.config
        check_settings(chosen, dtype, precision)
        _check_resize(config)
        give_back = interchange.give_back(image) if interchange.is_foreign(image) else None
        if chosen.stages and give_back is None:
            own, pictures = _moved_image(image, weights, chosen, dtype)
        with scope(chosen):
            if give_back is not None:
                own, pictures = _taken(image, config, chosen, dtype), None
                if check_finite or not chosen.on_device:
                    require_finite("image", own, chosen)
            elif not chosen.stages:
                own, pictures = _moved_image(image, weights, chosen, dtype)
            weights.kept(("fits", dtype), lambda: _check_range(weights, dtype))
            parameters = weights.on(chosen, dtype)
        return cls(
            weights,
            parameters,
            own,
            chosen,
            dtype,
            precision,
            pictures,
            _train(train),
            bool(check_finite),
            give_back,
        )

    @property
    def loss_dtype(self) -> str:
        """Of labels that are probabilities, and of results."""
        return "float32" if self.dtype in SHORT_DTYPES else self.dtype

    def scope(self) -> AbstractContextManager[None]:
        """What everything on the backend's arrays runs in."""
        return scope(self.backend, self.image.shape[0])

    def result(self, array: Array, what: str = "the result") -> Any:
        """A result as the caller gets it: NumPy's or in the library of the image, at least float32.

        Raises ConfigError when it has to be finite and is not, or the library would round it.
        """
        if self.check_finite:
            require_finite(what, array, self.backend)
        if self.give_back is None:
            return _at_least_float32(self.backend.to_host(array))
        if self.dtype in SHORT_DTYPES:
            array = self.backend.xp.astype(array, _dtype(self.backend, "float32"))
        return interchange.given_back(self.give_back, array)

    def own_result(self, array: Array) -> Any:
        """`result` in memory of its own: not a few rows that hold on to all tokens."""
        if self.give_back is not None:
            return self.result(self.backend.xp.astype(array, array.dtype))
        host = self.result(array)
        return host if host.base is None else host.copy()

    @property
    def model(self) -> dict[str, Any]:
        """The static arguments of `vitref.graph.vit`."""
        return {**model_arguments(self.weights.config), "train": self.train}

    def run(self, **options: Any) -> Run:
        return Run(
            self.parameters,
            xp=self.backend.xp,
            kernels=self.backend.kernels_at(self.precision),
            constants=self._constant,
            masks=self._mask if self.train else None,
            **options,
        )

    def _constant(self, build: Callable[..., HostArray], *arguments: Any) -> Array:
        """Kept with the weights, which whatever is recorded with it belongs to."""
        key = ("constant", self.backend, self.dtype, build, arguments)
        return self.weights.kept(key, lambda: self.backend.from_host(build(*arguments), self.dtype))

    def _mask(self, path: str, shape: tuple[int, ...], rate: float) -> Array:
        assert self.train is not None
        return self.backend.from_host(self.train.mask(path, shape, rate), self.dtype)

    def cotangents(self, cotangent: Any) -> dict[str, Array]:
        """Named output -> cotangent as the backend's array; one array is for the final output."""
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
        return {str(name): _cotangent(str(name), array, self) for name, array in given.items()}

    def about(self) -> dict[str, Any]:
        """What made the result, as plain values for JSON."""
        source, preprocessing = self.weights.source, self.weights.preprocessing
        return {
            "vitref": version("vitref"),
            "numpy": np.__version__,
            **self.backend.versions,
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
    given: Mapping[str, Array] = field(default_factory=dict)


def output(call: Call) -> Array:
    """The model's final output; nothing is saved or recorded. A backend may replay an earlier recording."""
    backend = call.backend

    def compute(image: Array) -> Array:
        with backend.workspaces.taken(keep=False) as workspace:
            return Trace(call.run(keep=False, workspace=workspace)).step("", vit, image, **call.model)

    with call.scope():
        if backend.replay is None or call.train is not None:
            return compute(call.image)
        key = (tuple(call.image.shape), call.dtype, call.precision)
        return backend.replay(call.weights, key, compute, call.image)


def run_pass(
    call: Call,
    record: frozenset[str] | None,
    *,
    labels: Any = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    cotangent: Any = None,
    outs: Mapping[str, Array] | None = None,
) -> Pass:
    """Forward, and backward when labels or a cotangent are given.

    `outs`: parameter -> an array that kernels may use for its gradient. Raises ConfigError for labels,
    cotangents or taps that do not fit the model.
    """
    given: dict[str, Array] = {}
    check_loss(labels, loss, label_smoothing)
    usable = {} if call.backend.on_device else outs
    with call.scope():
        if labels is not None:
            n, classes = call.image.shape[0], call.weights.config.classes
            host = interchange.on_host("labels", labels)
            checked = check(host, n, classes, loss, label_smoothing, call.loss_dtype)
            given = {"labels": call.backend.from_host(checked, checked.dtype.name)}
        elif cotangent is not None:
            given = call.cotangents(cotangent)
    with call.scope(), call.backend.workspaces.taken(bool(given), usable) as workspace:
        return _run_pass(call, record, workspace, given, loss if labels is not None else None)


def _run_pass(
    call: Call,
    record: frozenset[str] | None,
    workspace: Any,
    given: Mapping[str, Array],
    loss: str | None,
) -> Pass:
    """`loss` is None when `given` are cotangents, or nothing."""
    part: Any = vit if loss is None else supervised
    cotangents = {} if loss else given
    extra: dict[str, Any] = {"labels": given["labels"], "loss": loss} if loss else {}
    run = call.run(keep=bool(given), record=record, cotangents=cotangents, workspace=workspace)
    t = Trace(run)
    t.step("", part, call.image, **call.model, **extra)
    known("cotangent", cotangents, run.outputs)
    if record is not None:
        known("only", record, tap_names(run, bool(given)))
    if not given:
        return Pass(run, None)
    one = call.backend.from_host(np.ones(()), "float32")
    dimage = t.undo("", run.xp.astype(one, run.outputs["loss"].dtype) if loss else None)
    run.finish()
    for name, parameter in run.parameters.items():
        if name not in run.gradients:
            run.gradients[name] = run.xp.zeros(parameter.shape, dtype=parameter.dtype)
    names = {name: "labels" if loss else f"cotangent.{name}" for name in given}
    dimage = run.zeros("image") if dimage is None else dimage
    return Pass(run, dimage, {names[name]: array for name, array in given.items()})


def reusable(call: Call, out: Any) -> dict[str, HostArray]:
    """The arrays of earlier gradients that new ones may be written to; none for `out` None.

    Raises ConfigError when they are not those of this model in this dtype.
    """
    if out is None:
        return {}
    remedy = "Give what vitref.backward returned for NumPy images and this model."
    if call.give_back or not isinstance(out, Mapping) or out.keys() != call.weights.keys():
        found = "an image of another library" if call.give_back else f"a {type(out).__name__}"
        if isinstance(out, Mapping) and not call.give_back:
            found = f"other names: {', '.join(sorted(map(str, out.keys() ^ call.weights.keys()))[:3])}"
        expected = "NumPy images, and gradients by the names of this model"
        raise ConfigError("out", found=found, expected=expected, remedy=remedy)
    dtype = call.loss_dtype
    for name, parameter in call.weights.items():
        array = out[name]
        if not _takes(array, parameter.shape, dtype):
            raise ConfigError(
                f"out.weights[{name!r}]",
                found=_described(array),
                expected=f"a writeable, C-contiguous NumPy array {parameter.shape} of {dtype}",
                remedy=remedy,
            )
    arrays = {name: out[name] for name in call.weights}
    _check_apart(arrays)
    return arrays


def _check_apart(arrays: Mapping[str, HostArray]) -> None:
    """Raise ConfigError when two of these C-contiguous arrays share memory."""
    places = sorted(
        (array.__array_interface__["data"][0], array.nbytes, name) for name, array in arrays.items()
    )
    for (start, size, name), (following, _, other) in itertools.pairwise(places):
        if start + size > following:
            raise ConfigError(
                f"out.weights[{name!r}]",
                found=f"memory that out.weights[{other!r}] has too",
                expected="an array of its own for each gradient",
                remedy="Give what vitref.backward returned.",
            )


def _described(array: Any) -> str:
    if not isinstance(array, np.ndarray):
        return f"a {interchange.kind(array)}"
    faults = "" if array.flags.writeable else ", read-only"
    faults += "" if array.flags.c_contiguous else ", not C-contiguous"
    return f"an array {array.shape} of {array.dtype}{faults}"


def _takes(array: Any, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether an array of this shape and dtype can be written to it as it lies in memory."""
    if not isinstance(array, np.ndarray) or (array.shape, array.dtype.name) != (shape, dtype):
        return False
    return array.flags.writeable and array.flags.c_contiguous


def written(gradient: Any, out: HostArray | None) -> Any:
    """The gradient, in the array `out` where there is one."""
    if out is None or gradient is out:
        return gradient
    np.copyto(out, gradient)
    return out


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


def check_loss(labels: Any, loss: Any, label_smoothing: Any) -> None:
    """Raise ConfigError for an unknown loss, and for settings of one that is not there: they do nothing."""
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


def check_settings(backend: Backend, dtype: str, precision: str) -> None:
    """Raise BackendError when the backend does not compute so."""
    _one_of("dtype", dtype, backend.dtypes, backend.name)
    _one_of("precision", precision, backend.precision, backend.name)


def _one_of(argument: str, value: str, choices: tuple[str, ...], backend: str) -> None:
    if not isinstance(value, str) or value not in choices:
        raise BackendError(
            argument,
            found=repr(value),
            expected=f"text, on backend {backend} one of {', '.join(choices)}",
            remedy="Name one of these, or a backend that has it: vitref backends lists them.",
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


def _moved_image(
    image: Any, weights: Weights, backend: Backend, dtype: str
) -> tuple[Array, list[str] | None]:
    """A host array or pictures -> (the backend's array, names of the pictures or None)."""
    config = weights.config
    recipe, levels = weights.preprocessing, backend.pixels is not None
    pixels, decoded = images.to_batch(image, config.channels, recipe, levels=levels)
    names = [name for name, _ in listed(image)] if decoded else None
    if pixels.dtype == np.uint8 and backend.pixels is not None and recipe is not None:
        _check_size(pixels.shape[1:3], config)
        return backend.pixels(pixels, images.level_table(recipe), dtype), names
    _check_size(pixels.shape, config)
    return _moved("image", pixels if decoded else pixels.copy(), backend, dtype), names


def _taken(image: Any, config: Config, backend: Backend, dtype: str) -> Array:
    """An array of another library -> the backend's array, copied on its device."""
    if backend.from_dlpack is None:
        raise BackendError(
            f"backend {backend.name}",
            found=f"an image of type {type(image).__module__}.{type(image).__qualname__}",
            expected="a NumPy array or pictures",
            remedy="Convert it with numpy.asarray, or use the backend of its library.",
        )
    array = backend.from_dlpack(image)
    shape, name = tuple(array.shape), str(array.dtype).rpartition(".")[2]
    if name not in images.FLOATS or len(shape) not in (3, 4) or shape[-3] != config.channels or 0 in shape:
        raise ImageError(
            "image",
            found=f"a {interchange.kind(image)} of shape {shape} and dtype {name}",
            expected=f"({config.channels}, H, W) or (N, {config.channels}, H, W), {', '.join(images.FLOATS)}",
            remedy="Give preprocessed values; pixels (uint8) are taken as NumPy arrays.",
        )
    _check_size(shape, config)
    batch = array if len(shape) == 4 else backend.xp.reshape(array, (1, *shape))
    return backend.xp.astype(batch, _dtype(backend, dtype))


def _check_size(shape: tuple[int, ...], config: Config) -> None:
    if tuple(shape[-2:]) != config.image_size:
        raise ImageError(
            "image",
            found=f"{shape[-2]} x {shape[-1]} pixels",
            expected=f"{config.image_size[0]} x {config.image_size[1]}, the model's image_size",
            remedy="Preprocess to that size, or load the weights with image_size=.",
        )


def require_finite(what: str, array: Array, backend: Backend) -> None:
    """x - x is NaN where x is not finite: a sum tells, with one number to be waited for."""
    with np.errstate(invalid="ignore"):
        none = backend.to_host(backend.xp.sum(array - array))
    if not np.isfinite(none.astype(np.float64)):
        raise ConfigError(
            what,
            found="values that are NaN or infinite",
            expected="finite values",
            remedy="Find where they come from: vitref.trace(..., check_finite=True) names the first place. "
            "In 16 bits numbers may be out of range; float32 holds larger ones.",
        )


@functools.lru_cache(maxsize=64)
def _dtype(backend: Backend, dtype: str) -> Any:
    """The backend's own object for a dtype."""
    return backend.from_host(np.zeros(()), dtype).dtype


@contextmanager
def scope(backend: Backend, images: int = 1) -> Iterator[None]:
    """The backend's scope; too little memory is a BackendError that says how many of `images` fit."""
    try:
        with backend.scope():
            yield
    except BackendError as error:
        if error.share is None or images == 1:
            raise
        fit = max(1, int(images * error.share))
        remedy = f"Give at most {fit} of the {images} images at a time, or free memory there."
        raise BackendError(error.where, found=error.found, expected=error.expected, remedy=remedy) from error
    except MemoryError as error:
        raise BackendError(
            f"backend {backend.name}",
            found=f"too little memory: {str(error) or 'none left'}",
            expected="memory for what the pass holds",
            remedy="Give fewer images at a time.",
        ) from error


def _at_least_float32(host: HostArray) -> HostArray:
    return host.astype(np.float32) if host.dtype.name in SHORT_DTYPES else host


def _check_range(weights: Weights, dtype: str) -> None:
    for name, array in weights.items():
        fitting(name, array, dtype)


def _moved(name: str, array: HostArray, backend: Backend, dtype: str) -> Array:
    return backend.from_host(fitting(name, array, dtype), dtype)


def fitting(name: str, array: HostArray, dtype: str) -> HostArray:
    """The array as it is; raises ConfigError when a number in it is too large for `dtype`."""
    largest = _largest(dtype)
    if _largest(array.dtype.name) > largest and np.abs(array).max(initial=0) > largest:
        raise ConfigError(
            name,
            found=f"numbers beyond the range of {dtype}",
            expected=f"numbers that {dtype} can hold",
            remedy='Use dtype="float64".',
        )
    return array


def _largest(dtype: str) -> float:
    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]


def _cotangent(name: str, array: Any, call: Call) -> Array:
    """On the device already, or a finite array of the host."""
    what, backend = f"cotangent[{name!r}]", call.backend
    if interchange.is_foreign(array):
        if backend.on_device and backend.from_dlpack is not None and call.give_back is not None:
            moved = backend.xp.astype(backend.from_dlpack(array), _dtype(backend, call.dtype))
            if call.check_finite:
                require_finite(what, moved, backend)
            return moved
        array = interchange.on_host(what, array)
    return backend.from_host(_host_cotangent(name, array, call.dtype), call.dtype)


def _host_cotangent(name: str, array: Any, dtype: str) -> HostArray:
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
