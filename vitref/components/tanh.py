r"""Hyperbolic tangent, element by element: the activation of the pre-logits layer.

Forward    y = tanh x
Backward   dx = dy (1 - y^2)
Derivation (tanh x)' = 1 - tanh^2 x.
Shapes     x, y, dy, dx: (...), element by element
Raises     ValueError when dy is not as y.
           dtype in = dtype out.
Numerics   1 - y^2 cancels for large |x|: absolute, not relative accuracy.
Invariants |y| <= 1;  y(-x) = -y(x).
Keeps      y.
Mistakes   The tanh left out when the pre-logits layer is folded into the head; applied where the
           model has only the linear layer.
Source     vit_jax/models_vit.py (representation_size); transformers/models/vit (ViTPooler).

>>> import math, numpy as np
>>> y, saved = forward(np.array([math.atanh(0.5)]))
>>> y.round(12)
array([0.5])
>>> backward(np.array([4.0]), saved).x.round(12)            # 4 (1 - 1/4)
array([3.])
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Saved(NamedTuple):
    y: Array


class Grads(NamedTuple):
    x: Array


def forward(x: Array, *, xp: Namespace = NUMPY) -> tuple[Array, Saved]:
    y = xp.tanh(x)
    return y, Saved(y)


def backward(dy: Array, saved: Saved, *, xp: Namespace = NUMPY) -> Grads:
    require_shape("dy", dy, tuple(saved.y.shape))
    return Grads(dy * (1 - saved.y * saved.y))
