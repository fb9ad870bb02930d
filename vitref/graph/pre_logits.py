"""The representation layer between pooling and head: linear, then tanh.

    x  ->  fc  ->  act

Shapes: x (N, D); the result (N, pre_logits). Source: vit_jax/models_vit.py (representation_size);
the pooler of transformers' ViT is the same layer.
"""

from vitref.array import Array
from vitref.components import linear, tanh
from vitref.run import Trace


def forward(t: Trace, x: Array) -> Array:
    x = t.step("fc", linear, x)
    return t.step("act", tanh, x)


def backward(t: Trace, dy: Array) -> Array:
    dy = t.undo("act", dy)
    return t.undo("fc", dy)
