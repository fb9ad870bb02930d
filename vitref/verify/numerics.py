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
from typing import Any, NamedTuple

import numpy as np

from vitref import components
from vitref.array import NUMPY, Array, HostArray, Namespace
from vitref.run import title
from vitref.verify.mistakes import edit
from vitref.verify.precision import UNIT, computed_in, rounded

CHUNKS = 8
"""The most pieces into which a sum is divided."""

FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "scores": (
        (
            "q * scale(q), xp.matrix_transpose(k)) -> xp.stored(q * scale(q)), xp.matrix_transpose(k))",
            "xp.matmul(ds, k) * scale(q) -> xp.stored(xp.matmul(ds, k)) * scale(q)",
            "xp.matrix_transpose(ds), q * scale(q)) -> xp.matrix_transpose(ds), xp.stored(q * scale(q)))",
        ),
        (
            "xp.matmul(q * scale(q), xp.matrix_transpose(k)), Saved -> "
            "xp.stored(xp.matmul(q, xp.matrix_transpose(k))) * scale(q), Saved",
            "xp.matmul(ds, k) * scale(q) -> xp.matmul(xp.stored(ds * scale(q)), k)",
            "xp.matrix_transpose(ds), q * scale(q)) -> xp.matrix_transpose(xp.stored(ds * scale(q))), q)",
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
"""Component -> the forms in which right programs write it, as edits of the reference. `xp.stored` rounds to
the storage format: where one program has one step, another has two."""

FUSED = {"softmax": ("xp.sum(y * dy, axis=-1, keepdims=True) -> xp.sum_of_rounded(y * dy)",)}
"""The same for fused attention: in the gradient of the softmax it takes the sum of dy_c y_c over the
attention's output, which is rounded, for that of dp_j p_j over the keys."""


class At(NamedTuple):
    """The path of a step, the format in which it stores, and whether its inputs are rounded to it first."""

    path: str
    stored: str
    casts: bool = False


@dataclass(frozen=True)
class Somewhere:
    """A component that is another one, or has other static arguments, at some paths.

    part     everywhere else
    changes  (path or what paths begin with, the component there, its static arguments there)
    """

    part: Any
    changes: tuple[tuple[str, Any, Mapping[str, Any]], ...]

    @property
    def PARAMS(self) -> tuple[str, ...]:
        return tuple(self.part.PARAMS)

    def at(self, path: str, static: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        for start, part, other in self.changes:
            if f"{path}.".startswith(f"{start}."):
                return part, {**static, **other}
        return self.part, static

    def kernel(self) -> Any:
        """As a kernel of exact arithmetic; the workspace is the path (see `Paths`)."""

        def forward(*arrays: Array, ws: str, keep: bool, **static: Any) -> tuple[Array, Any]:
            chosen, static = self.at(ws, static)
            y, saved = chosen.forward(*arrays, **static)
            return y, (saved, chosen)

        def backward(dy: Array, saved: Any, *, ws: str, xp: Namespace) -> Any:
            return saved[1].backward(dy, saved[0], xp=xp)

        return as_kernel(title(self.part), self.PARAMS, forward, backward)


class Paths:
    """A workspace that tells a kernel where it is."""

    def at(self, path: str, parameters: Mapping[str, str]) -> str:
        return path


def as_kernel(name: str, parameters: tuple[str, ...], forward: Any, backward: Any) -> Any:
    """A kernel that takes everything."""
    return SimpleNamespace(
        __name__=name,
        HIDES=(),
        ADDS=False,
        PARAMS=parameters,
        refuses=lambda *inputs, **static: None,
        forward=forward,
        backward=backward,
    )


@dataclass
class Realisation:
    """One way of computing, drawn from `seed`.

    precision   "float64", "float32", "tf32", "float16" or "bfloat16": of what is stored (TF32: of the
                operands of products)
    stored      step (its key) -> the format in which the candidate stores it, where that is known
    accumulate  sums over rows are rounded to the storage format after every row, as some libraries do for
                gradients of parameters
    fused       attention may be one fused kernel
    casts       steps whose inputs are stored in a wider format than they are computed in (autocast):
                there they are rounded first. Elsewhere inputs stay as they come: a kernel that is fused with
                the step before takes what that did not round
    """

    precision: str
    seed: int
    stored: Mapping[str, str] = field(default_factory=dict)
    accumulate: bool = False
    fused: bool = False
    casts: frozenset[str] = frozenset()

    @property
    def dtype(self) -> type:
        return computed_in(self.precision)

    def kernels(self, place: int, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Kernels that compute every primitive so; `parts` are other components than the reference's own,
        `place` is the link of the chain."""
        rng = np.random.default_rng([self.seed, place])
        known = {name: edit.edited(name, self._form(name)) for name in FORMS}
        known |= {name: edit.edited(name, lines) for name, lines in FUSED.items() if self.fused}
        own = {
            name: self._kernel(name, {**known, **parts}.get(name, part), rng)
            for name, part in primitives().items()
        }
        return {**parts, **own}

    def at(self, path: str, parameters: Mapping[str, str]) -> "At":
        """Where a step is, and how it stores (`vitref.run` hands it to the kernels as their workspace)."""
        return At(path, self.stored.get(path, self.precision), path in self.casts)

    def _form(self, name: str) -> tuple[str, ...]:
        return FORMS[name][self.seed % len(FORMS[name])]

    def _kernel(self, name: str, part: Any, rng: np.random.Generator) -> Any:
        def forward(*arrays: Array, ws: At, keep: bool, xp: Namespace, **static: Any) -> tuple[Array, Any]:
            chosen, static = at(part, ws.path, static)
            count = len(arrays) - len(chosen.PARAMS)
            inputs = _each(arrays[:count], ws.stored if ws.casts else "")
            given = [*inputs, *_each(arrays[count:], ws.stored)]
            y, saved = chosen.forward(*given, **static, xp=self._namespace(rng, ws.stored))
            return _stored(y, ws.stored), (saved, chosen)

        def backward(dy: Array, saved: Any, *, ws: At, xp: Namespace) -> tuple[Array, ...]:
            (inner, chosen), fmt = saved, ws.stored
            dy = _stored(dy, fmt if ws.casts else "")
            grads = chosen.backward(dy, inner, xp=self._namespace(rng, fmt))
            return tuple(None if g is None else _stored(g, fmt) for g in grads)

        return as_kernel(name, tuple(part.PARAMS), forward, backward)

    def _namespace(self, rng: np.random.Generator, stored: str) -> Namespace:
        operands = "tf32" if self.precision == "tf32" else ""
        rounded_sums = stored if self.accumulate and UNIT[stored] > UNIT["float32"] else ""
        return namespace(rng, self.dtype, operands, rounded_sums, stored)


@cache
def primitives() -> dict[str, ModuleType]:
    """Name -> primitive."""
    return {name: edit.component(name) for _, name, _ in pkgutil.iter_modules(components.__path__)}


def at(part: Any, path: str, static: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What runs at a path, and with which static arguments: `part` may be another at some (`Somewhere`)."""
    return part.at(path, static) if isinstance(part, Somewhere) else (part, static)


def namespace(
    rng: np.random.Generator, dtype: type, operands: str = "", sums: str = "", stored: str = "float32"
) -> Namespace:
    """NumPy's functions with the order of sums and the last bits of functions drawn at random.

    `operands`: products round theirs to this format. `sums`: a sum over rows is rounded to it at each step.
    `stored`: the format in which results are stored; `sum_of_rounded` is off by that of its terms.
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

    def sum_of_rounded(x: HostArray) -> HostArray:
        size = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
        noise = rng.standard_normal(size.shape, dtype) * dtype(max(UNIT[stored], unit))
        return np.asarray(total(x, axis=-1, keepdims=True) + size * noise)

    inexact = {name: nearly(getattr(NUMPY, name)) for name in ("exp", "erf", "tanh", "sqrt", "log", "log1p")}

    def kept(x: HostArray) -> HostArray:
        return np.asarray(_stored(x, stored))

    sums_ = {"stored": kept, "matmul": matmul, "sum": total, "mean": mean, "sum_of_rounded": sum_of_rounded}
    return SimpleNamespace(**{**vars(NUMPY), **inexact, **sums_})


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
    number = min(int(rng.integers(2, CHUNKS + 1)), k)
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
