"""Shapes of arguments, and static arguments, drawn for each component.

Each function takes a `Size`, any source of whole numbers between two bounds. Lengths are small, often
equal on purpose (heads = tokens, O = I, queries = keys: a mixed-up layout then raises no shape error),
and a batch has two images or more.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vitref.array import HostArray
from vitref.testing.values import Random

Size = Callable[[int, int], int]
"""size(low, high): a whole number in low .. high."""

Shape = tuple[int, ...]
Static = dict[str, Any]


class Arguments(NamedTuple):
    """Shapes of the differentiable arguments (None: absent), and the static arguments."""

    shapes: dict[str, Shape | None]
    static: Static = {}


@runtime_checkable
class Made(Protocol):
    """A static argument that is an array: made from the seed, like all values."""

    def values(self, rng: Random, dtype: str) -> HostArray: ...


class Mask(NamedTuple):
    """Zeros and ones, as often the one as the other."""

    shape: Shape

    def values(self, rng: Random, dtype: str) -> HostArray:
        return rng.integers(0, 2, size=self.shape).astype(dtype)


class Resampling(NamedTuple):
    """A matrix (new, old) whose rows sum to 1, some of their elements negative as in a cubic's."""

    new: int
    old: int

    def values(self, rng: Random, dtype: str) -> HostArray:
        weights = rng.standard_normal((self.new, self.old))
        return np.asarray(weights + (1 - np.sum(weights, axis=1, keepdims=True)) / self.old).astype(dtype)


class Labels(NamedTuple):
    """Labels of a classification. `kind`: integers, probabilities (rows sum to 1) or weights from 0 to 1
    (rows sum to anything)."""

    kind: str
    images: int
    classes: int

    def values(self, rng: Random, dtype: str) -> HostArray:
        if self.kind == "integers":
            return rng.integers(0, self.classes, size=self.images)
        weights = rng.uniform(0, 1, size=(self.images, self.classes))
        total = np.sum(weights, axis=1, keepdims=True) if self.kind == "probabilities" else 1
        return np.asarray(weights / total).astype(dtype)


def _leading(size: Size) -> Shape:
    """None to three leading axes."""
    return (size(2, 3), size(1, 4), size(1, 3))[: size(0, 3)]


def _width(size: Size, high: int) -> int:
    """The length of a row: 1, where normalising leaves nothing, only now and then."""
    return size(2, high) if size(0, 7) < 7 else 1


def _near(size: Size, other: int, high: int) -> int:
    """Another length, equal to `other` in every second draw."""
    return other if size(0, 1) else size(1, high)


def any_shape(*names: str) -> Callable[[Size], Arguments]:
    def arguments(size: Size) -> Arguments:
        shape = (size(2, 3), size(1, 4), size(1, 4))[: size(0, 3)]
        return Arguments(dict.fromkeys(names, shape))

    return arguments


def class_token(size: Size) -> Arguments:
    n, t, d = size(2, 3), size(1, 4), size(1, 4)
    return Arguments({"x": (n, t, d), "token": (1, 1, d)})


def context(size: Size) -> Arguments:
    lead, queries, d = _leading(size), size(1, 4), size(1, 4)
    keys = _near(size, queries, 4)
    return Arguments({"p": (*lead, queries, keys), "v": (*lead, keys, d)})


def cross_entropy(size: Size) -> Arguments:
    n, k = size(1, 4), _width(size, 5)
    kind = ("integers", "probabilities", "weights")[size(0, 2)]
    return Arguments({"x": (n, k)}, {"labels": Labels(kind, n, k)})


def drop_path(size: Size) -> Arguments:
    shape = (size(2, 3), size(1, 4), size(1, 4))[: size(1, 3)]
    return Arguments({"x": shape}, {"mask": Mask(shape[:1]), "rate": _rate(size)})


def dropout(size: Size) -> Arguments:
    shapes = any_shape("x")(size).shapes
    return Arguments(shapes, {"mask": Mask(shapes["x"] or ()), "rate": _rate(size)})


def _rate(size: Size) -> float:
    return (0.0, 0.1, 0.5, 0.9)[size(0, 3)]


def gelu(size: Size) -> Arguments:
    return Arguments(any_shape("x")(size).shapes, {"form": ("erf", "tanh")[size(0, 1)]})


def layer_norm(size: Size) -> Arguments:
    width = _width(size, 6)
    eps = (1e-5, 1e-6, 1e-12, 1e-3, 1.0)[size(0, 4)]
    return Arguments({"x": (*_leading(size), width), "weight": (width,), "bias": (width,)}, {"eps": eps})


def layer_scale(size: Size) -> Arguments:
    width = size(1, 5)
    return Arguments({"x": (*_leading(size), width), "gamma": (width,)})


def linear(size: Size) -> Arguments:
    inputs = size(1, 5)
    outputs = _near(size, inputs, 5)
    bias = (outputs,) if size(0, 1) else None
    return Arguments({"x": (*_leading(size), inputs), "weight": (outputs, inputs), "bias": bias})


def mean_pool(size: Size) -> Arguments:
    n, t, d = size(2, 3), size(1, 5), size(1, 4)
    return Arguments({"x": (n, t, d)}, {"start": min(size(0, 2), t - 1)})


def merge_heads(size: Size) -> Arguments:
    n, heads, d = size(2, 3), size(1, 4), size(1, 4)
    return Arguments({"x": (n, heads, _near(size, heads, 4), d)})


def patch_projection(size: Size) -> Arguments:
    n, t, d, c, h, w = size(2, 3), size(1, 3), size(1, 4), size(1, 3), size(1, 3), size(1, 3)
    bias = (d,) if size(0, 1) else None
    return Arguments({"x": (n, t, c * h * w), "weight": (d, c, h, w), "bias": bias})


def position_embedding(size: Size) -> Arguments:
    n, t, d = size(2, 3), size(1, 4), size(1, 4)
    return Arguments({"x": (n, t, d), "table": (1, t, d)})


def resized_position_embedding(size: Size) -> Arguments:
    """As many places before as after in every second draw, though not as many rows."""
    rows, columns, prefix = size(1, 4), size(1, 4), size(0, 2)
    new_rows, new_columns = (columns, rows) if size(0, 1) else (size(1, 4), size(1, 4))
    n, d = size(2, 3), size(1, 3)
    matrices = {"rows": Resampling(new_rows, rows), "columns": Resampling(new_columns, columns)}
    return Arguments(
        {"x": (n, prefix + new_rows * new_columns, d), "table": (1, prefix + rows * columns, d)},
        {**matrices, "prefix": prefix},
    )


def scores(size: Size) -> Arguments:
    lead, queries, d = _leading(size), size(1, 4), size(1, 5)
    keys = _near(size, queries, 4)
    return Arguments({"q": (*lead, queries, d), "k": (*lead, keys, d)})


def select_token(size: Size) -> Arguments:
    n, t, d = size(2, 3), size(1, 4), size(1, 4)
    return Arguments({"x": (n, t, d)}, {"index": size(0, t - 1)})


def softmax(size: Size) -> Arguments:
    return Arguments({"x": (*_leading(size), _width(size, 6))})


def split_heads(size: Size) -> Arguments:
    n, heads, d = size(2, 3), size(1, 4), size(1, 3)
    return Arguments({"qkv": (n, _near(size, heads, 4), 3 * heads * d)}, {"heads": heads})


def unfold(size: Size) -> Arguments:
    n, c, h, w, rows, columns = size(2, 3), size(1, 3), size(1, 3), size(1, 3), size(1, 3), size(1, 3)
    below, beside = size(0, h - 1), size(0, w - 1)
    shape = (n, c, rows * h + below, columns * w + beside)
    return Arguments({"image": shape}, {"patch_size": (h, w)})
