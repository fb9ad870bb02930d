r"""Identity: gives a value a name, at which it can be read, replaced, or given a cotangent.

Forward    y = x
Backward   dx = dy
Derivation The identity is its own transpose.
Shapes     x, y, dy, dx: the same (...)
Raises     Nothing.
           dtype in = dtype out.
Numerics   Exact: the array itself is passed on.
Invariants y is x.
Keeps      Nothing.
Mistakes   None of its own; a named output on the wrong side of a norm is a mistake of the graph.
Source     vitref's own device: the names `image`, `embed`, `tokens`, `pooled`, `head_input` and
           `logits` exist in every family of models, whatever step produces them.

>>> import numpy as np
>>> y, saved = forward(np.array([1.0, 2.0]))
>>> backward(y, saved).x
array([1., 2.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace

PARAMS = ()


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, xp: Namespace = NUMPY) -> tuple[Array, None]:
    return x, None


def backward(dy: Array, saved: None, *, xp: Namespace = NUMPY) -> Grads:
    return Grads(dy)
