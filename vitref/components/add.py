r"""Add the output of a branch to the residual stream.

Forward    y = a + b
Backward   da = dy                                     db = dy
Derivation Both summands enter with factor 1.
Shapes     a, b, y and their cotangents: all the same (...)
Raises     ValueError when a and b differ in shape: nothing is broadcast.
           dtype in = dtype out.
Numerics   One rounding per element.
Invariants y - a = b up to rounding;  da and db are dy itself (one shared array).
Keeps      Nothing.
Mistakes   The residual taken after the norm (x = norm(x); x + f(x)); the residual's cotangent
           dropped or counted twice.
Source     He et al. 2015, arXiv:1512.03385; in the ViT: arXiv:2010.11929, eq. 2 and 3.

>>> import numpy as np
>>> y, saved = forward(np.array([1.0, 2.0]), np.array([10.0, 20.0]))
>>> y
array([11., 22.])
>>> backward(np.array([1.0, -1.0]), saved)
Grads(a=array([ 1., -1.]), b=array([ 1., -1.]))
"""

from typing import NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape

PARAMS = ()


class Grads(NamedTuple):
    a: Array
    b: Array


def forward(a: Array, b: Array, *, xp: Namespace = NUMPY) -> tuple[Array, None]:
    require_shape("b", b, tuple(a.shape))
    return a + b, None


def backward(dy: Array, saved: None, *, xp: Namespace = NUMPY) -> Grads:
    return Grads(dy, dy)
