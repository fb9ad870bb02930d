"""The model and its training loss: what `vitref.backward` differentiates when labels are given.

    image  ->  vit  ->  loss (softmax or sigmoid cross-entropy, the mean over the batch)

Shapes: image (N, C, H, W); labels integers (N,) or probabilities (N, classes); the result ().
"""

from typing import Any

from vitref.array import Array
from vitref.components import cross_entropy, sigmoid_cross_entropy
from vitref.graph import vit
from vitref.run import Trace

LOSSES = {"cross_entropy": cross_entropy, "sigmoid": sigmoid_cross_entropy}
"""Name, as in `vitref.backward(loss=...)` -> component."""


def forward(t: Trace, image: Array, *, labels: Array, loss: str = "cross_entropy", **model: Any) -> Array:
    logits = t.step("", vit, image, **model)
    return t.step("loss", LOSSES[loss], logits, labels=labels)


def backward(t: Trace, dy: Array, *, labels: Array, loss: str = "cross_entropy", **model: Any) -> Array:
    dlogits = t.undo("loss", dy)
    return t.undo("", dlogits)
