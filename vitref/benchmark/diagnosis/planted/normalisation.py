"""Planted in LayerNorm: eps, variance, axes, affine parameters, and where it stands."""

from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces, wiring
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

NORM1 = "blocks.0.norm1"


def by(scale: Any, shift: bool = True) -> Any:
    """A norm that divides by `scale(centred, config)`, after subtracting the mean if `shift`."""

    def norm(m: "Pass", at: str, x: Any) -> Any:
        wide = pieces.widen(x)
        centred = wide - wide.mean(-1, keepdim=True) if shift else wide
        return pieces.scaled(m, at, x, centred / scale(centred, m.config))

    return norm


def variance(x: Any) -> Any:
    return (x * x).mean(-1, keepdim=True)


def root_of(eps: float) -> Any:
    return by(lambda x, c: (variance(x) + eps).sqrt())


def over_tokens(m: "Pass", at: str, x: Any) -> Any:
    """Statistics of every channel over the tokens."""
    wide = pieces.widen(x)
    centred = wide - wide.mean(1, keepdim=True)
    return pieces.scaled(m, at, x, centred / ((centred**2).mean(1, keepdim=True) + m.config.eps).sqrt())


def over_both(m: "Pass", at: str, x: Any) -> Any:
    """Statistics of every image over tokens and channels together."""
    wide = pieces.widen(x)
    centred = wide - wide.mean((1, 2), keepdim=True)
    return pieces.scaled(m, at, x, centred / ((centred**2).mean((1, 2), keepdim=True) + m.config.eps).sqrt())


def affine(change: Any) -> Any:
    """A norm whose weight and bias are `change(weight, bias)`."""

    def norm(m: "Pass", at: str, x: Any) -> Any:
        wide = pieces.widen(x)
        centred = wide - wide.mean(-1, keepdim=True)
        weight, bias = change(*(pieces.widen(m.weights[f"{at}.{n}"]) for n in ("weight", "bias")))
        return (centred / (variance(centred) + m.config.eps).sqrt() * weight + bias).to(x.dtype)

    return norm


def skipped(m: "Pass", at: str, x: Any) -> Any:
    return x


def twice(m: "Pass", at: str, x: Any) -> Any:
    return pieces.norm(m, at, pieces.norm(m, at, x))


def pooled_first(m: "Pass", at: str, x: Any) -> Any:
    """The norm after the pooling in place of before."""
    return wiring.classify(m, at, m.piece("norm", "norm", m.piece("pool", "pool", x)))


def bug(name: str, what: str, wrong: Any, *, at: str = "*", first: str = NORM1, **rest: Any) -> Bug:
    changes = (Change("norm", wrong, at),)
    return Bug(name=name, what=what, first=first, changes=changes, **rest)


BUGS = (
    bug("eps_3e-6", "adds an eps of 3e-6", root_of(3e-06)),
    bug("eps_2e-4", "adds an eps of 2e-4", root_of(0.0002)),
    bug(
        "eps_5e-3_in_one",
        "adds an eps of 5e-3 in norm2 of block 1",
        root_of(0.005),
        at="blocks.1.norm2",
        first="blocks.1.norm2",
    ),
    bug("eps_1e-5", "adds an eps of 1e-5, torch's default", root_of(1e-05)),
    bug("eps_0", "adds no eps", root_of(0.0)),
    bug(
        "eps_4e-3_beside_root",
        "adds an eps of 4e-3 to the standard deviation",
        by(lambda x, c: variance(x).sqrt() + 0.004),
    ),
    bug(
        "bessel_everywhere",
        "divides the sum of squares by D - 1",
        by(lambda x, c: (variance(x) * x.shape[-1] / (x.shape[-1] - 1) + c.eps).sqrt()),
    ),
    bug(
        "bessel_in_one",
        "divides the sum of squares by D - 1 in norm2 of block 2",
        by(lambda x, c: (variance(x) * x.shape[-1] / (x.shape[-1] - 1) + c.eps).sqrt()),
        at="blocks.2.norm2",
        first="blocks.2.norm2",
    ),
    bug("statistics_of_all_tokens", "takes mean and variance over tokens and channels", over_both),
    bug(
        "statistics_over_tokens_in_one",
        "takes mean and variance over the tokens in norm1 of block 1",
        over_tokens,
        at="blocks.1.norm1",
        first="blocks.1.norm1",
    ),
    bug(
        "root_mean_square",
        "does not subtract the mean",
        by(lambda x, c: (variance(x) + c.eps).sqrt(), shift=False),
    ),
    bug(
        "mean_deviation",
        "divides by the mean absolute deviation",
        by(lambda x, c: x.abs().mean(-1, keepdim=True) + c.eps),
    ),
    bug("variance_for_deviation", "divides by the variance", by(lambda x, c: variance(x) + c.eps)),
    bug("gain_one_plus", "multiplies by one plus the weight", affine(lambda w, b: (1 + w, b))),
    bug("gain_forgotten", "does not multiply by the weight", affine(lambda w, b: (0 * w + 1, b))),
    bug(
        "gain_and_shift_forgotten", "applies neither weight nor bias", affine(lambda w, b: (0 * w + 1, 0 * b))
    ),
    bug("shift_before_gain", "adds the bias before it multiplies", affine(lambda w, b: (w, w * b))),
    bug(
        "last_norm_missing",
        "does not apply the last norm",
        skipped,
        at="norm",
        first="norm",
        needs=lambda c: c.final_norm == "tokens",
    ),
    bug(
        "last_norm_twice",
        "applies the last norm twice",
        twice,
        at="norm",
        first="norm",
        needs=lambda c: c.final_norm == "tokens",
    ),
    Bug(
        name="last_norm_after_pooling",
        what="applies the last norm to the mean of the tokens",
        first="pooled",
        step="norm",
        model="mean",
        needs=lambda c: c.final_norm == "tokens" and c.pool != "token",
        changes=(Change("top", pooled_first),),
    ),
    bug(
        "norm_saturates",
        "limits what it returns to three in norm2 of every block",
        lambda m, at, x: torch.clamp(pieces.norm(m, at, x), -3, 3),
        at="blocks.*.norm2",
        first="blocks.0.norm2",
    ),
)
