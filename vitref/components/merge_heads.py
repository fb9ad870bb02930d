r"""Put the heads' outputs side by side: the inverse of the head split.

Forward    y_{n, t, (head, d)} = x_{n, head, t, d}
Backward   dx_{n, head, t, d} = dy_{n, t, (head, d)}
Derivation A permutation; the transpose of a permutation is its inverse.
Shapes     x, dx: (N, heads, T, d)   y, dy: (N, T, heads d)
Raises     ValueError when x is not (N, heads, T, d).
           dtype in = dtype out.
Numerics   Exact: no arithmetic.
Invariants sum y^2 = sum x^2;  backward(forward(x)) = x.
Keeps      Only the number of heads.
Mistakes   A reshape without the permutation: no shape error, tokens and heads are scrambled.
Source     Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2 (Concat).

>>> import numpy as np
>>> x = np.array([[[[1.0], [2.0]], [[10.0], [20.0]]]])      # two heads, two tokens, d = 1
>>> y, saved = forward(x)
>>> y
array([[[ 1., 10.],
        [ 2., 20.]]])
>>> bool((backward(y, saved).x == x).all())
True
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()


class Saved(NamedTuple):
    heads: int


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}, expected (N, heads, T, d)")
    n, heads, t, d = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (n, t, heads * d)), Saved(heads)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    n, t, width = dy.shape
    x = xp.reshape(dy, (n, t, saved.heads, width // saved.heads))
    return Grads(xp.permute_dims(x, (0, 2, 1, 3)))
