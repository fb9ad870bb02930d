"""The model and its training loss: what `vitref.backward` differentiates when labels are given.

    image  ->  vit  ->  loss (mean softmax cross-entropy)

Shapes: image (N, C, H, W); labels integers (N,) or probabilities (N, classes); the result ().
"""

from typing import Any

from vitref.array import Array
from vitref.components import cross_entropy
from vitref.graph import vit
from vitref.run import Trace


def forward(t: Trace, image: Array, *, labels: Array, **model: Any) -> Array:
    logits = t.step("", vit, image, **model)
    return t.step("loss", cross_entropy, logits, labels=labels)


def backward(t: Trace, dy: Array, *, labels: Array, **model: Any) -> Array:
    dlogits = t.undo("loss", dy)
    return t.undo("", dlogits)
