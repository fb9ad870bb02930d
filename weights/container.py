"""Weights: the parameters of one model, with its Config and where all of it came from."""

import dataclasses
import json
import math
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref import backends
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import BackendError, CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import check, formats, record, resizing
from vitref.weights.files import StrPath, path_text, save_tensors
from vitref.weights.npz import MAX_COMMENT, save_arrays
from vitref.weights.source import Source

__all__ = ["Source", "Weights", "known_dtype"]


class Weights(Mapping[str, npt.NDArray[Any]]):
    """An immutable mapping, canonical name -> read-only array, in the order of `config.parameter_shapes()`.

    tensors        name -> array in float64, float32, float16 or bfloat16; copied unless already immutable
    config         the model
    preprocessing  what its pixels need, or None when that is not known
    source         where all of it came from

    Two Weights are equal only when they are the same object. Raises CheckpointError when a tensor is
    missing, extra, misshapen, of another dtype or not finite, and ConfigError when `config` is no Config.
    """

    __slots__ = ("__weakref__", "_kept", "_lock", "_tensors", "config", "preprocessing", "source")

    config: Config
    preprocessing: Preprocessing | None
    source: Source
    _tensors: Mapping[str, npt.NDArray[Any]]
    _kept: dict[Hashable, Any]
    _lock: threading.RLock

    def __init__(
        self,
        tensors: Mapping[str, Any],
        config: Config,
        *,
        preprocessing: Preprocessing | None = None,
        source: Source | None = None,
    ) -> None:
        if not isinstance(config, Config):
            raise _not_a("config", config, "a vitref.Config")
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise _not_a("preprocessing", preprocessing, "a vitref.Preprocessing or None")
        if source is not None and not isinstance(source, Source):
            raise _not_a("source", source, "a vitref.weights.Source or None")
        source = source or Source()
        where, shapes = source.path or "weights", config.parameter_shapes()
        arrays = _arrays(tensors, where)
        check.require(arrays, shapes, where)
        frozen = {name: _immutable(arrays[name]) for name in shapes}
        check.require_finite(frozen, where)
        source = dataclasses.replace(source, tensors=frozen)
        values = {
            "_tensors": source.tensors,
            "_kept": {},
            "_lock": threading.RLock(),
            "config": config,
            "preprocessing": preprocessing,
            "source": source,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Weights are immutable; {name} cannot be set. Use Weights.replace.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Weights are immutable; {name} cannot be deleted.")

    def __repr__(self) -> str:
        count = sum(math.prod(array.shape) for array in self.values())
        origin = self.source.path or self.source.format
        return f"<Weights: {len(self)} tensors, {count:,} parameters, from {origin}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self), self.config, self.preprocessing, self.source)

    def replace(self, tensors: Mapping[str, Any]) -> "Weights":
        """New Weights with some tensors replaced, by canonical name; checked like new ones."""
        given = _arrays(tensors, "Weights.replace")
        source = self.source.replaced(given)
        return _rebuild({**self, **given}, self.config, self.preprocessing, source)

    def to(self, backend: str | Backend = "numpy", dtype: str | None = None) -> "Weights":
        """These weights in `dtype` (each tensor's own when None), and on the backend's device already.

        What one reads from them stays NumPy arrays. Copies on a device are made once and belong to this
        object: they go with it. Raises BackendError for an unknown backend or dtype, or one in which a
        backend with a device does not compute, and CheckpointError when a value is too large for the dtype.
        """
        chosen = backends.get(backend)
        result = self if dtype is None else self._converted(known_dtype(dtype))
        dtypes = {array.dtype.name for array in result.values()}
        if chosen.on_device and len(dtypes) == 1:
            result.on(chosen, *dtypes)
        elif chosen.on_device:
            raise BackendError(
                "Weights.to",
                found=f"tensors of {', '.join(sorted(dtypes))}",
                expected="one dtype on a device",
                remedy="Give dtype=.",
            )
        return result

    def on(self, backend: Backend, dtype: str) -> Mapping[str, Any]:
        """Name -> array of the backend in `dtype`. Copies on a device are made once and kept."""
        if dtype not in backend.dtypes:
            raise BackendError(
                "dtype",
                found=repr(dtype),
                expected=f"one of {', '.join(backend.dtypes)} on backend {backend.name}",
                remedy="Give dtype=.",
            )

        def move() -> dict[str, Any]:
            with backend.scope():
                return {name: backend.from_host(array, dtype) for name, array in self.items()}

        return self.kept((backend, dtype), move) if backend.on_device else move()

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returned the first time that it was asked for under this key."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]

    def _converted(self, dtype: np.dtype[Any]) -> "Weights":
        if all(array.dtype == dtype for array in self.values()):
            return self
        with np.errstate(over="ignore"):
            arrays = {name: array.astype(dtype, copy=False) for name, array in self.items()}
        return _rebuild(arrays, self.config, self.preprocessing, self.source)

    def resized(self, image_size: int | tuple[int, int]) -> "Weights":
        """Weights for another image size, whose position table is the resized one; to fine-tune, say.

        image_size  (H, W) in pixels, or one number for both

        The table is resized in float64 by the recipe `config.position_resize`, then rounded to its
        dtype. Preprocessing is that of `load(..., image_size=...)`: by the same crop_pct, or None
        where that is not known. Raises ConfigError when the recipe is not known.
        """
        config = dataclasses.replace(self.config, image_size=image_size)  # type: ignore[arg-type]
        config = dataclasses.replace(config, position_grid=config.grid)
        recipe = resizing.recipe(self.preprocessing, self.source, config.image_size)
        source = resizing.source(self.source, self.config, config, recipe)
        table = {"pos_embed": resizing.table(self["pos_embed"], self.config, config)}
        return _rebuild({**self, **table}, config, recipe, source)

    def export(self, tensors: Mapping[str, Any] | None = None, format: str | None = None) -> dict[str, Any]:
        """These weights, or any arrays with their canonical names and shapes, as another library names them.

        tensors  canonical name -> array, gradients for example; these weights when None
        format   "timm", "huggingface", "google", "vitref"; the one the weights came in when None

        Raises CheckpointError for a name or shape that is not one of the model's, and ConfigError for
        an unknown format or one that has no such model.
        """
        given = dict(self) if tensors is None else _arrays(tensors, "Weights.export")
        shapes = self.config.parameter_shapes()
        wrong = [f"{name} {array.shape}" for name, array in given.items() if array.shape != shapes.get(name)]
        if wrong:
            raise CheckpointError(
                "Weights.export",
                found=", ".join(check.cut(wrong)),
                expected="names and shapes of the model's parameters",
                remedy="Give arrays keyed by the canonical names, each in the shape of its parameter.",
            )
        return self._layout(format).from_canonical(given, self.config)

    def save(self, path: StrPath, format: str | None = None) -> None:
        """Write a file from which `load(path)` restores these weights exactly, by itself: a NumPy archive
        when its name ends in .npz, else safetensors. An archive has no room for the names of very many
        classes, which are then left out.

        Raises CheckpointError when the file cannot be written; an older file then stays as it was.
        """
        layout = self._layout(format)
        archive, source = path_text(path).lower().endswith(".npz"), self.source
        if archive and len(json.dumps(json.dumps(source.classes))) > MAX_COMMENT * 3 // 4:
            source = dataclasses.replace(source, classes=())
        own = {record.METADATA: record.write(layout.name, self.config, self.preprocessing, source)}
        write = save_arrays if archive else save_tensors
        write(path, self.export(format=format), {**source.metadata, **own})

    def _layout(self, format: str | None) -> formats.Format:
        own = "vitref" if self.source.format == "init" else self.source.format
        return formats.get(own, self.source.style) if format in (None, own) else formats.get(str(format))


def known_dtype(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of one of the names that parameters may have. Raises BackendError for another."""
    if not isinstance(dtype, str) or dtype not in check.DTYPES:
        raise BackendError(
            "dtype",
            found=repr(dtype),
            expected=f"one of {', '.join(check.DTYPES)}",
            remedy="Give the dtype by one of these names.",
        )
    return check.DTYPES[dtype]


def _immutable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as a view of a bytes object, which nobody can write to; a copy unless it is one already."""
    root: Any = array
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    if isinstance(root, bytes) and array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.frombuffer(native.tobytes(), native.dtype).reshape(array.shape)


def _rebuild(
    tensors: Mapping[str, Any], config: Config, preprocessing: Preprocessing | None, source: Source
) -> Weights:
    return Weights(tensors, config, preprocessing=preprocessing, source=source)


def _arrays(tensors: Mapping[str, Any], where: str) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(tensors, Mapping):
        raise _not_a("tensors", tensors, "a mapping of name -> array")
    names = [name for name in tensors if not isinstance(name, str)]
    if names:
        raise CheckpointError(
            where,
            found=f"the name {ascii(names[0])}",
            expected="names that are text",
            remedy="Give each tensor its canonical name.",
        )
    return {name: _array(tensor, f"{where}: {name}") for name, tensor in tensors.items()}


def _array(tensor: Any, where: str) -> npt.NDArray[Any]:
    if isinstance(tensor, np.ma.MaskedArray):
        raise CheckpointError(
            where,
            found="a masked array",
            expected="an array of which every element counts",
            remedy="Fill it first, with its method filled.",
        )
    try:
        return np.asarray(tensor)
    except Exception as error:  # a tensor of another library may raise anything
        raise CheckpointError(
            where, found=f"what is no array ({error})", expected="an array", remedy="Give NumPy arrays."
        ) from None


def _not_a(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(name, found=ascii(value), expected=expected, remedy=f"Give {name} of this kind.")
