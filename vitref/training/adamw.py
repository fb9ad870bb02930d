r"""AdamW: Adam with decoupled weight decay, as a pure rule from old values to new ones.

Rule       m <- b1 m + (1 - b1) g                      v <- b2 v + (1 - b2) g^2
           mhat = m / (1 - b1^t)                       vhat = v / (1 - b2^t)        t = 1, 2, ...
           p <- p - rate * (mhat / (sqrt vhat + eps) + decay * p)
           decay counts for the parameters that `is_decayed` names, and is 0 for the others
Derivation m and v start at zero, so after t steps they weigh the gradients with
           (1 - b) sum_{s <= t} b^(t - s) = 1 - b^t instead of 1: the division makes them averages.
Shapes     p, g, m, v: those of the parameter      t: a whole number, the same for all
Raises     KeyError when a parameter has no gradient.  dtype in = dtype out.
Numerics   eps stands outside the root and after the bias correction.  A gradient that is zero but
           for rounding (the bias of the keys: softmax does not see it) moves its parameter by
           rate * g / eps: nothing in float64, noise of that size in float32.
Invariants Without decay the first step is rate * sign(g), as far as |g| >> eps.  Multiplying every
           gradient by one number changes nothing, as far as eps does not count.
Mistakes   decay * p added to g (that is Adam with L2 regularisation: the decay is then divided by
           sqrt vhat); t that starts at 0; eps inside the root; LayerNorm and biases decayed.
Source     Loshchilov, Hutter 2019, arXiv:1711.05101, algorithm 2; the learning rate multiplies the
           decay too, as in torch.optim.AdamW (the paper's lambda is rate * decay).

>>> import numpy as np
>>> p, state = {"w": np.array([[1.0]])}, None
>>> rule = {"rate": 0.1, "betas": (0.5, 0.75), "eps": 0.0, "decay": 0.5}
>>> p, state = update(p, {"w": np.array([[2.0]])}, state, **rule)
>>> p["w"], state.mean["w"], state.square["w"]      # 1 - 0.1 (1 + 0.5 * 1)
(array([[0.85]]), array([[1.]]), array([[1.]]))
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vitref.array import NUMPY, Array, Namespace

UNDECAYED = ("cls_token", "pos_embed")
"""Left out of the decay although they have several axes: timm's `no_weight_decay` of its ViT."""

Rule = Callable[..., tuple[Array, Array, Array]]
"""(p, g, m, v, *, step, rate, betas, eps, decay) -> new p, m, v; `step` is t."""


class State(NamedTuple):
    """What AdamW keeps between steps: how many were taken, and m and v by parameter name."""

    step: int
    mean: dict[str, Array]
    square: dict[str, Array]


def is_decayed(name: str, parameter: Array) -> bool:
    """Whether the decay counts for a parameter: not for one axis (biases, LayerNorm), nor `UNDECAYED`."""
    return parameter.ndim > 1 and name not in UNDECAYED


def start(parameters: Mapping[str, Array], xp: Namespace = NUMPY) -> State:
    """The state before the first step."""
    zeros = {name: xp.zeros(p.shape, dtype=p.dtype) for name, p in parameters.items()}
    return State(0, zeros, zeros)


def rule(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    xp: Namespace = NUMPY,
) -> tuple[Array, Array, Array]:
    """New p, m and v of one parameter after step `step` = 1, 2, ...; nothing given is changed."""
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * (g * g)
    mhat, vhat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    change = mhat / (xp.sqrt(vhat) + eps)
    return p - rate * (change + decay * p if decay else change), m, v


def update(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: State | None,
    *,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    rule: Rule = rule,
    xp: Namespace = NUMPY,
) -> tuple[dict[str, Array], State]:
    """The parameters and the state after one step; nothing given is changed. A state of None is `start`.

    `rule` may be a backend's own (`Backend.rules["adamw"]`).
    """
    t, means, squares = state or start(parameters, xp)
    settings: dict[str, Any] = {"step": t + 1, "rate": rate, "betas": betas, "eps": eps}
    new, mean, square = {}, {}, {}
    for name, p in parameters.items():
        own = decay if is_decayed(name, p) else 0.0
        new[name], mean[name], square[name] = rule(
            p, gradients[name], means[name], squares[name], decay=own, **settings
        )
    return new, State(t + 1, mean, square)
