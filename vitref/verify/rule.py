"""The rule that tells rounding from a mistake: its constants, and why they are what they are.

An error is measured in multiples of honest rounding noise, which is itself measured: own runs of the same
steps in the candidate's precision, each with other orders of summation and other last bits of functions
(`vitref.verify.numerics`), from inputs displaced by as much as their own noise. docs/verdict.md has what was
measured with them.
"""

from dataclasses import dataclass

RUNS = 3
"""Own runs: with one alone the noise of a small tensor may come out ten times too small."""

LOWER = {"float64": ("float32", "tf32", "float16", "bfloat16"), "float32": ("tf32", "float16", "bfloat16")}
"""Precision -> the lower ones that are tried when a step is wrong in it; none below 16 bits."""


@dataclass(frozen=True)
class Thresholds:
    """Multiples of the noise above which an error is no rounding.

    local       from the candidate's own inputs
    forward     with everything computed from the image, outputs
    backward    the same, cotangents and gradients
    explained   with a mistake in the reference: at most this is left, of its own noise
    ladder      in a lower precision: at most this is left
    fused       as `local`, for cotangents that one kernel computes from that of attention's output: how it
                rounds inside is its own affair
    """

    local: float
    forward: float
    backward: float
    explained: float
    fused: float
    ladder: float = 4.0


HIGH = Thresholds(local=8.0, forward=8.0, backward=16.0, explained=8.0, fused=8.0)
"""float64 and float32."""

LOW = Thresholds(local=4.0, forward=6.0, backward=6.0, explained=3.0, fused=10.0)
"""float16, bfloat16, TF32."""


def thresholds(precision: str) -> Thresholds:
    return HIGH if precision in ("float64", "float32") else LOW
