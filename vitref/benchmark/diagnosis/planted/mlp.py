"""Planted in the MLP: the activation above all."""

import math
from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

ACT = "blocks.0.mlp.act"


def of(function: Any) -> Any:
    """`function(x)` in place of the activation."""
    return lambda m, at, x: function(pieces.widen(x)).to(x.dtype)


def dropping(m: "Pass", at: str, x: Any) -> Any:
    """Dropout of a tenth that evaluation did not switch off."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(len(at)))
    return pieces.activation(m, at, x) * (noise > 0.1).to(x.dtype) / 0.9


def halves_exchanged(m: "Pass", at: str, x: Any) -> Any:
    y = pieces.activation(m, at, x)
    return y.roll(y.shape[-1] // 2, -1)


def bug(name: str, what: str, wrong: Any, *, at: str = "*", first: str = ACT, **rest: Any) -> Bug:
    changes = (Change("activation", wrong, at),)
    return Bug(name=name, what=what, first=first, changes=changes, **rest)


def exact(config: Any) -> bool:
    return bool(config.activation == "gelu")


BUGS = (
    bug("tanh_form", "uses the tanh form of GELU", of(pieces.gelu_tanh), needs=exact),
    bug(
        "tanh_form_in_one",
        "uses the tanh form of GELU in block 2",
        of(pieces.gelu_tanh),
        at="blocks.2.*",
        first="blocks.2.mlp.act",
        needs=exact,
    ),
    bug(
        "erf_form", "uses the exact form of GELU", of(pieces.gelu), model="mean", needs=lambda c: not exact(c)
    ),
    bug("sigmoid_1702", "uses x sigmoid(1.702 x)", of(lambda x: x * torch.sigmoid(1.702 * x))),
    bug(
        "sigmoid_1702_in_one",
        "uses x sigmoid(1.702 x) in block 1",
        of(lambda x: x * torch.sigmoid(1.702 * x)),
        at="blocks.1.*",
        first="blocks.1.mlp.act",
    ),
    bug("sigmoid_155", "uses x sigmoid(1.55 x)", of(lambda x: x * torch.sigmoid(1.55 * x))),
    bug("sigmoid_1", "uses x sigmoid(x)", of(lambda x: x * torch.sigmoid(x))),
    bug(
        "tanh_without_cube",
        "leaves the cube out of the tanh form",
        of(lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x))),
    ),
    bug("rectified", "uses max(x, 0)", of(lambda x: torch.relu(x))),
    bug("rectified_leaky", "uses x, or x / 50 below zero", of(lambda x: torch.where(x > 0, x, x / 50))),
    bug("activation_forgotten", "has no activation", of(lambda x: x)),
    bug(
        "activation_clipped",
        "limits GELU to at most 3 and its input to at least -3",
        of(lambda x: pieces.gelu(x.clamp(min=-3)).clamp(max=3)),
    ),
    bug("activation_of_magnitude", "takes GELU of |x|", of(lambda x: pieces.gelu(x.abs()))),
    bug("activation_not_halved", "forgets the factor one half of GELU", of(lambda x: 2 * pieces.gelu(x))),
    bug(
        "hard_sigmoid",
        "uses x times (x + 3) / 6, limited to 0..1",
        of(lambda x: x * ((x + 3) / 6).clamp(0, 1)),
    ),
    bug("softplus", "uses log(1 + exp x)", of(lambda x: torch.nn.functional.softplus(x))),
    bug("dropout_left_on", "drops a tenth of the hidden units in evaluation", dropping),
    bug(
        "hidden_halves_exchanged",
        "exchanges the halves of the hidden units in block 1",
        halves_exchanged,
        at="blocks.1.*",
        first="blocks.1.mlp.act",
    ),
)
