"""Weights: the parameters of one model, with its Config and where all of it came from."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from vitref import backends
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import BackendError, CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import check, formats, record
from vitref.weights.files import StrPath, save_tensors


@dataclasses.dataclass(frozen=True)
class Source:
    """Where weights came from.

    path        the file, or None
    format      whose names and layouts the file uses: "timm", "vitref"; "init" for drawn weights
    provenance  field of Config or Preprocessing -> where its value came from
    metadata    the file's own, without ours
    """

    path: str | None = None
    format: str = "vitref"
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensors: Mapping[str, npt.NDArray[Any]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("provenance", "metadata", "tensors"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the tensors' names, dtypes, shapes and values; of nothing else."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            array = self.tensors[name]
            digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        mappings = dict(self.provenance), dict(self.metadata), dict(self.tensors)
        return Source, (self.path, self.format, *mappings)


class Weights(Mapping[str, npt.NDArray[Any]]):
    """An immutable mapping, canonical name -> read-only array, in the order of `config.parameter_shapes()`.

    tensors        name -> array in float64, float32, float16 or bfloat16; copied unless already immutable
    config         the model
    preprocessing  what its pixels need, or None when that is not known
    source         where all of it came from

    Two Weights are equal only when they are the same object. Raises CheckpointError when a tensor is
    missing, extra, misshapen, of another dtype or not finite, and ConfigError when `config` is no Config.
    """

    __slots__ = ("__weakref__", "_tensors", "config", "preprocessing", "source")

    config: Config
    preprocessing: Preprocessing | None
    source: Source
    _tensors: Mapping[str, npt.NDArray[Any]]

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
        source = source or Source()
        where, shapes = source.path or "weights", config.parameter_shapes()
        arrays = _arrays(tensors, where)
        check.require(arrays, shapes, where)
        frozen = {name: _immutable(arrays[name]) for name in shapes}
        check.require_finite(frozen, where)
        source = dataclasses.replace(source, tensors=frozen)
        values = {
            "_tensors": source.tensors,
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
        return _rebuild(
            {**self, **_arrays(tensors, "Weights.replace")}, self.config, self.preprocessing, self.source
        )

    def to(self, backend: str | Backend = "numpy", dtype: str | None = None) -> "Weights":
        """These weights in `dtype` (each tensor's own when None), as arrays of `backend`.

        This version holds NumPy arrays only. Raises BackendError for another backend or dtype, and
        CheckpointError when a value is too large for the dtype.
        """
        convert = backends.get(backend).from_host
        if dtype is not None:
            known_dtype(dtype)
        with np.errstate(over="ignore"):
            arrays = {name: convert(array, dtype or str(array.dtype)) for name, array in self.items()}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise BackendError(
                "Weights.to",
                found=f"a backend whose arrays are not NumPy's: {backend!r}",
                expected="a backend on NumPy arrays",
                remedy='Use backend="numpy".',
            )
        if all(arrays[name].dtype == array.dtype for name, array in self.items()):
            return self
        return _rebuild(arrays, self.config, self.preprocessing, self.source)

    def export(self, tensors: Mapping[str, Any] | None = None, format: str | None = None) -> dict[str, Any]:
        """These weights, or any arrays with their canonical names and shapes, as another library names them.

        tensors  canonical name -> array, gradients for example; these weights when None
        format   "timm", "vitref"; the format the weights came in when None

        Raises CheckpointError for a name or shape that is not one of the model's.
        """
        given = dict(self) if tensors is None else _arrays(tensors, "Weights.export")
        shapes = self.config.parameter_shapes()
        wrong = [name for name, array in given.items() if array.shape != shapes.get(name)]
        if wrong:
            raise CheckpointError(
                "Weights.export",
                found=", ".join(f"{name} {given[name].shape}" for name in wrong),
                expected="names and shapes of the model's parameters",
                remedy="Give arrays keyed by the canonical names, each in the shape of its parameter.",
            )
        return formats.get(self._layout(format)).from_canonical(given, self.config)

    def save(self, path: StrPath, format: str | None = None) -> None:
        """Write a safetensors file from which `load(path)` restores these weights exactly, by itself.

        Raises CheckpointError when the file cannot be written; an older file then stays as it was.
        """
        layout, provenance = self._layout(format), self.source.provenance
        own = {record.METADATA: record.write(layout, self.config, self.preprocessing, provenance)}
        save_tensors(path, self.export(format=format), {**self.source.metadata, **own})

    def _layout(self, format: str | None) -> str:
        own = "vitref" if self.source.format == "init" else self.source.format
        return formats.get(format or own).name


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
    try:
        return {name: np.asarray(tensor) for name, tensor in tensors.items()}
    except ValueError as error:
        raise CheckpointError(
            where, found=f"what is no array ({error})", expected="arrays", remedy="Give NumPy arrays."
        ) from None


def _not_a(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(name, found=ascii(value), expected=expected, remedy=f"Give {name} of this kind.")
