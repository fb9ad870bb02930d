"""Errors in multiples of noise: for a whole tensor, and for its worst token.

Both norms are absolute on both sides, never divided by the size of the tensor: a tap that is zero but for
rounding needs no special treatment.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.verify.precision import UNIT
from vitref.verify.verdicts import Element

WORST = 5
"""How many of the worst elements are kept."""

PARTS = {".attn.qkv": 3}
"""End of a step's name -> in how many parts its last axis is compared: queries, keys and values apart,
since the gradient of a key's bias is zero but for rounding."""


class Ratio(NamedTuple):
    """The error in multiples of the noise, over the whole tensor and over its worst token."""

    whole: float
    token: float
    worst: tuple[int, ...] | None

    @property
    def larger(self) -> float:
        """Of the two, that of the token by half: a single one scatters more."""
        return max(self.whole, self.token / 2)


@dataclass
class Measured:
    """What is kept of one tap: sums of squares alone, per token where it has tokens.

    error, size, noise   lists over the parts: |c - r|^2, |r|^2, and |own run - r|^2 of each run
    """

    shape: tuple[int, ...]
    stored: str
    error: list[HostArray]
    size: list[HostArray]
    noise: list[list[HostArray]]
    exact: bool = False
    worst: tuple[Element, ...] = ()

    def ratio(self) -> Ratio:
        found = [
            _ratio(*part, UNIT[self.stored]) for part in zip(self.error, self.size, self.noise, strict=True)
        ]
        return max(found, key=lambda ratio: ratio.larger)

    @property
    def scale(self) -> float:
        """The noise of one element: the root of its mean square."""
        pairs = zip(self.noise, self.size, strict=True)
        total = sum(_mean_noise(noise, size, UNIT[self.stored]) for noise, size in pairs)
        return float(np.sqrt(total / max(int(np.prod(self.shape)), 1))) or float(np.finfo(np.float64).tiny)

    @property
    def relative(self) -> tuple[float, float]:
        """Error and noise, relative to the size of the reference."""
        size = sum(float(part.sum()) for part in self.size)
        error = sum(float(part.sum()) for part in self.error)
        noise = sum(
            _mean_noise(part, s, UNIT[self.stored]) for part, s in zip(self.noise, self.size, strict=True)
        )
        return _over(error, size), _over(noise, size)


def measured(
    tap: str, candidate: HostArray, reference: HostArray, runs: list[HostArray], stored: str
) -> Measured:
    """`runs` are own runs of the tap; all arrays of one shape."""
    c, r = candidate.astype(np.float64), np.asarray(reference, np.float64)
    return Measured(
        shape=tuple(r.shape),
        stored=stored,
        error=squares(tap, c - r),
        size=squares(tap, r),
        noise=[list(part) for part in zip(*(squares(tap, run - r) for run in runs), strict=True)],
    )


def squares(tap: str, difference: HostArray) -> list[HostArray]:
    """Sums of squares per token, for each part of a tap."""
    return [_per_token(tap, part) for part in parts(tap, np.asarray(difference, np.float64))]


def parts(tap: str, array: HostArray) -> list[HostArray]:
    name, _, kind = tap.partition(":")
    stem = name.removesuffix(".weight").removesuffix(".bias") if kind == "grad" else name
    number = next((count for end, count in PARTS.items() if stem.endswith(end)), 1)
    if number == 1:
        return [array]
    return np.split(array, number, axis=0 if kind == "grad" else -1)


def _per_token(tap: str, d: HostArray) -> HostArray:
    """(N, T) for tokens, (N,) for one vector an image, () for parameters and everything else."""
    with np.errstate(over="ignore"):
        squared = d * d
    if tap.endswith(":grad") or d.ndim < 2:
        return np.asarray(squared.sum())
    if d.ndim == 3:
        return np.asarray(squared.sum(axis=2))
    if d.ndim == 4 and not tap.startswith("image"):
        return np.asarray(squared.sum(axis=(1, 3)))
    return np.asarray(squared.reshape(d.shape[0], -1).sum(axis=1))


def _ratio(error: HostArray, size: HostArray, noise: list[HostArray], unit: float) -> Ratio:
    whole = _over(float(error.sum()), _mean_noise(noise, size, unit))
    if error.size < 2:
        return Ratio(whole, whole, None)
    own = np.mean(noise, axis=0) if noise else np.zeros_like(size)
    typical, usual = float(own.mean()), float(size.mean())
    share = 0.5 + 0.5 * size / usual if usual else np.ones_like(size)
    scale = 0.5 * own + 0.5 * typical * share + unit * unit / 4 * size
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        each = np.sqrt(np.where(error > 0, error / scale, 0.0))
    place = np.unravel_index(int(np.argmax(each)), each.shape)
    return Ratio(whole, float(each[place]), tuple(int(i) for i in place))


def _mean_noise(noise: list[HostArray], size: HostArray, unit: float) -> float:
    own = float(np.mean([run.sum() for run in noise])) if noise else 0.0
    return own + unit * unit / 4 * float(size.sum())


def _over(a: float, b: float) -> float:
    """sqrt(a / b); 0 / 0 is 0."""
    if a == 0:
        return 0.0
    return float(np.sqrt(a / b)) if b > 0 else float("inf")


def worst_elements(candidate: HostArray, reference: HostArray, scale: float) -> tuple[Element, ...]:
    """The elements that differ most; `scale` is the noise of one element."""
    c, r = candidate.astype(np.float64), np.asarray(reference, np.float64)
    off = np.abs(c - r).reshape(-1)
    if not off.size:
        return ()
    count = min(WORST, off.size)
    order = np.argpartition(off, -count)[-count:]
    order = order[np.argsort(-off[order])]
    return tuple(
        Element(
            tuple(int(i) for i in np.unravel_index(int(at), c.shape)),
            float(c.flat[at]),
            float(r.flat[at]),
            float(off[at] / scale) if scale else float("inf"),
        )
        for at in order
        if off[at] > 0
    )
