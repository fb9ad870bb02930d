"""The MLP of a block: two linear layers with a GELU between them.

    x  ->  fc1  ->  act  ->  fc2

Shapes: x and the result (N, T, D); between fc1 and fc2 (N, T, mlp_width). In training, `rate` drops
after the activation and after fc2. Source: arXiv:2010.11929, section 3.1; timm/layers/mlp.py.
"""

from vitref.array import Array
from vitref.components import dropout, gelu, linear
from vitref.run import Trace

FORMS = {"gelu": "erf", "gelu_tanh": "tanh"}
"""Config.activation -> the form of `gelu`."""


def forward(t: Trace, x: Array, *, activation: str, rate: float) -> Array:
    x = t.step("fc1", linear, x)
    x = t.step("act", gelu, x, form=FORMS[activation])
    if rate:
        x = t.step("drop1", dropout, x, mask=t.mask("drop1", x.shape, rate), rate=rate)
    x = t.step("fc2", linear, x)
    if rate:
        x = t.step("drop2", dropout, x, mask=t.mask("drop2", x.shape, rate), rate=rate)
    return x


def backward(t: Trace, dy: Array, *, activation: str, rate: float) -> Array:
    if rate:
        dy = t.undo("drop2", dy)
    dy = t.undo("fc2", dy)
    if rate:
        dy = t.undo("drop1", dy)
    dy = t.undo("act", dy)
    return t.undo("fc1", dy)
