"""Honest rounding: the same graph computed as another careful program might compute it.

Two right programs differ in the order in which they add, in the last bits of exp, erf, tanh and sqrt, in
where they apply the attention scale, and in how they form the gradient of the loss. A `Realisation` draws
all of these at random; several of them, beside float64, measure how far apart right programs lie.
"""

import itertools
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from vitref import components
from vitref.array import NUMPY, Array, HostArray, Namespace
from vitref.verify.mistakes import edit
from vitref.verify.precision import UNIT, computed_in, rounded

CHUNKS = 8
"""The most pieces into which a sum is divided."""

FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "scores": (
        (),
        (
            "q * scale(q), xp.matrix_transpose(k)) -> q, xp.matrix_transpose(k)) * scale(q)",
            "xp.matmul(ds, k) * scale(q) -> xp.matmul(ds * scale(q), k)",
            "xp.matrix_transpose(ds), q * scale(q)) -> xp.matrix_transpose(ds * scale(q)), q)",
        ),
    ),
    "cross_entropy": (
        (),
        (
            "(dy / p.shape[0]) * (p * xp.sum(t, axis=-1, keepdims=True) - t) -> "
            "p * (xp.sum(t, axis=-1, keepdims=True) * (dy / p.shape[0])) - t * (dy / p.shape[0])",
        ),
    ),
}
"""Component -> the forms in which right programs write it, as edits of the reference."""


@dataclass
class Realisation:
    """One way of computing, drawn from `seed`.

    precision   "float64", "float32", "tf32", "float16" or "bfloat16": of what is stored (TF32: of the
                operands of products)
    stored      output -> the format in which the candidate stores it, where that is known
    accumulate  sums over rows are rounded to the storage format after every row, as some libraries do for
                gradients of parameters
    """

    precision: str
    seed: int
    stored: Mapping[str, str] = field(default_factory=dict)
    accumulate: bool = False

    @property
    def dtype(self) -> type:
        return computed_in(self.precision)

    def kernels(self, place: int, edits: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
        """Every primitive, computed so; `edits` are changed components, `place` the link of the chain."""
        rng = np.random.default_rng([self.seed, place])
        return {name: self._kernel(name, part, rng) for name, part in parts(self.seed, edits).items()} | {
            name: edit.kernel(name, lines) for name, lines in edits.items() if name not in primitives()
        }

    def at(self, path: str, parameters: Mapping[str, str]) -> str:
        """The storage format of one step (`vitref.run` hands it to the kernels as their workspace)."""
        return self.stored.get(path, self.precision)

    def _kernel(self, name: str, part: Any, rng: np.random.Generator) -> Any:
        def forward(*arrays: Array, ws: str, keep: bool, xp: Namespace, **static: Any) -> tuple[Array, Any]:
            chosen = self._namespace(rng, ws)
            y, saved = part.forward(*_each(arrays, ws), **static, xp=chosen)
            return _stored(y, ws), (saved, ws)

        def backward(dy: Array, saved: Any, *, ws: str, xp: Namespace) -> tuple[Array, ...]:
            inner, fmt = saved
            chosen = self._namespace(rng, fmt)
            dy = tuple(_each(dy, fmt)) if isinstance(dy, tuple) else _stored(dy, fmt)
            return tuple(None if g is None else _stored(g, fmt) for g in part.backward(dy, inner, xp=chosen))

        return SimpleNamespace(
            __name__=name,
            HIDES=(),
            ADDS=False,
            PARAMS=part.PARAMS,
            refuses=lambda *inputs, **static: None,
            forward=forward,
            backward=backward,
        )

    def _namespace(self, rng: np.random.Generator, stored: str) -> Namespace:
        operands = "tf32" if self.precision == "tf32" else ""
        rounded_sums = stored if self.accumulate and UNIT[stored] > UNIT["float32"] else ""
        return namespace(rng, self.dtype, operands, rounded_sums)


@cache
def primitives() -> dict[str, ModuleType]:
    """Name -> primitive."""
    return {name: edit.component(name) for _, name, _ in pkgutil.iter_modules(components.__path__)}


def parts(seed: int, edits: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Every primitive, in one of its right forms or as `edits` has it."""
    chosen: dict[str, Any] = dict(primitives())
    for name, forms in FORMS.items():
        chosen[name] = _edited(name, forms[seed % len(forms)])
    return chosen | {name: edit.edited(name, lines) for name, lines in edits.items() if name in chosen}


def namespace(rng: np.random.Generator, dtype: type, operands: str = "", sums: str = "") -> Namespace:
    """NumPy's functions with the order of sums and the last bits of functions drawn at random.

    `operands`: products round theirs to this format. `sums`: a sum over rows is rounded to it at each step.
    """
    unit = UNIT[np.dtype(dtype).name]

    def nearly(function: Callable[..., HostArray]) -> Callable[[HostArray], HostArray]:
        def inexact(x: HostArray) -> HostArray:
            y = np.asarray(function(x))
            noise = rng.standard_normal(y.shape, dtype)
            noise *= 2 * unit
            return np.asarray(y + y * noise)

        return inexact

    def matmul(a: HostArray, b: HostArray) -> HostArray:
        a, b = (rounded(x, operands) if operands else x for x in (a, b))
        pieces = _pieces(rng, a.shape[-1])
        y: Any = 0
        for start, stop in pieces:
            y = y + np.matmul(a[..., start:stop], b[..., start:stop, :])
        return np.asarray(y)

    def total(x: HostArray, *, axis: Any = None, keepdims: bool = False) -> HostArray:
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(a % x.ndim for a in axes)
        kept = tuple(a for a in range(x.ndim) if a not in axes)
        flat = x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), -1)
        y = _sum(flat, rng, sums if 0 in axes else "")
        shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape)) if keepdims else y.shape
        return np.asarray(y.reshape(shape))

    def mean(x: HostArray, *, axis: Any = None, keepdims: bool = False) -> HostArray:
        y = total(x, axis=axis, keepdims=keepdims)
        return np.asarray(y / (x.size // max(y.size, 1)), dtype=x.dtype)

    inexact = {name: nearly(getattr(NUMPY, name)) for name in ("exp", "erf", "tanh", "sqrt", "log", "log1p")}
    return SimpleNamespace(**{**vars(NUMPY), **inexact, "matmul": matmul, "sum": total, "mean": mean})


def _sum(flat: HostArray, rng: np.random.Generator, sums: str) -> HostArray:
    """Over the last axis, in pieces whose sums are added in a random order."""
    k = flat.shape[-1]
    if sums and k > 1:
        return _rounded_sum(np.moveaxis(flat[..., rng.permutation(k)], -1, 0), sums)
    y: Any = 0
    for start, stop in _pieces(rng, k):
        y = y + flat[..., start:stop].sum(axis=-1)
    return np.asarray(y)


def _rounded_sum(rows: HostArray, fmt: str) -> HostArray:
    y = np.zeros_like(rows[0])
    for row in rows:
        y = rounded(y + row, fmt)
    return np.asarray(y)


def _pieces(rng: np.random.Generator, k: int) -> list[tuple[int, int]]:
    """Where the pieces of a sum of k terms begin and end, in the order in which they are added."""
    number = min(int(rng.integers(1, CHUNKS + 1)), k)
    cuts = (
        [0, *sorted(rng.choice(np.arange(1, k), number - 1, replace=False).tolist()), k] if k > 1 else [0, k]
    )
    pieces = list(itertools.pairwise(cuts))
    return [pieces[i] for i in rng.permutation(len(pieces))]


def _each(arrays: tuple[Array, ...], fmt: str) -> list[Array]:
    return [None if array is None else _stored(array, fmt) for array in arrays]


def _stored(array: Any, fmt: str) -> Any:
    if isinstance(array, tuple):
        return tuple(_each(array, fmt))
    if fmt in ("tf32", "") or not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        return array
    return rounded(array, fmt)


@cache
def _edited(name: str, lines: tuple[str, ...]) -> Any:
    return edit.edited(name, lines)
