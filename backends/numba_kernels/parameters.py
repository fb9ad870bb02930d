"""The arrays of one block by name: its parameters, what it keeps for the way back, and their sizes."""

from collections.abc import Callable
from typing import Any, NamedTuple

from vitref.array import Array


class Parameters(NamedTuple):
    """In the order of `vitref.backends.numba_kernels.block.PARAMS`; also their gradients."""

    norm1_weight: Array
    norm1_bias: Array
    qkv_weight: Array
    qkv_bias: Array | None
    proj_weight: Array
    proj_bias: Array
    gamma1: Array | None
    norm2_weight: Array
    norm2_bias: Array
    fc1_weight: Array
    fc1_bias: Array
    fc2_weight: Array
    fc2_bias: Array
    gamma2: Array | None


class Shape(NamedTuple):
    """Sizes and static arguments: `inner` is heads times their width, `hidden` the width of the MLP."""

    batch: int
    tokens: int
    width: int
    heads: int
    inner: int
    hidden: int
    eps: float
    form: str
    scaled: bool
    dtype: Any

    @property
    def rows(self) -> int:
        return self.batch * self.tokens

    def qkv_rows(self, heads: slice) -> list[slice]:
        """The rows of the qkv weight that make q, k and v of these heads; in one for all heads."""
        each = self.inner // self.heads
        if heads == slice(0, self.heads):
            return [slice(0, 3 * self.inner)]
        starts = [third * self.inner for third in range(3)]
        return [slice(start + heads.start * each, start + heads.stop * each) for start in starts]

    @classmethod
    def of(cls, x: Array, p: Parameters, heads: int, eps: float, form: str) -> "Shape":
        inner, hidden = p.proj_weight.shape[1], p.fc1_weight.shape[0]
        batch, tokens, width = x.shape
        return cls(batch, tokens, width, heads, inner, hidden, eps, form, p.gamma1 is not None, x.dtype)


class Kept(NamedTuple):
    """From the forward pass, rows = images * tokens.

    xhat1, xhat2        (rows, width), what LayerNorm scales and shifts; r1, r2 (rows,) its factors
    qkv                 (3 inner, rows)
    o                   (rows, inner), the attention's output
    u                   (hidden, rows), what enters the GELU, without the bias of fc1
    branch1, branch2    (rows, width), what LayerScale scales; None without it

    Where nothing is kept, qkv, o and u lie over each other, and the others are None.
    """

    xhat1: Array
    r1: Array
    qkv: Array
    o: Array
    branch1: Array | None
    xhat2: Array
    r2: Array
    u: Array
    branch2: Array | None

    @classmethod
    def allocate(cls, empty: Callable[..., Array], shape: Shape) -> "Kept":
        """`empty` is called with (role, shape, dtype)."""
        rows, width = shape.rows, shape.width
        sizes: dict[str, tuple[int, ...]] = {
            "xhat1": (rows, width),
            "r1": (rows,),
            "qkv": (3 * shape.inner, rows),
            "o": (rows, shape.inner),
            "xhat2": (rows, width),
            "r2": (rows,),
            "u": (shape.hidden, rows),
        }
        if shape.scaled:
            sizes |= {"branch1": (rows, width), "branch2": (rows, width)}
        arrays = {role: empty(role, size, shape.dtype) for role, size in sizes.items()}
        return cls(**{"branch1": None, "branch2": None, **arrays})

    @classmethod
    def carved(cls, pool: Array, rows: int, shape: Shape) -> "Kept":
        """Out of a 1-D buffer: qkv and o beside each other, and over both of them u, which is made last."""
        end = 3 * shape.inner * rows
        qkv = pool[:end].reshape(3 * shape.inner, rows)
        o = pool[end : end + rows * shape.inner].reshape(rows, shape.inner)
        u = pool[: shape.hidden * rows].reshape(shape.hidden, rows)
        kept: dict[str, Array | None] = dict.fromkeys(cls._fields)
        return cls(**{**kept, "qkv": qkv, "o": o, "u": u})

    @staticmethod
    def pool_size(rows: int, shape: Shape) -> int:
        return rows * max(4 * shape.inner, shape.hidden)
