"""What a comparison finds, as plain data: a verdict for every tap, the guilty steps, and their causes.

`vitref.compare` returns a `Report`; the terminal, the JSON and the page of `vitref.verify.reports` show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitref.array import HostArray

VERDICTS = {
    "exact": "bit for bit what the reference gives in the candidate's precision",
    "rounding": "within what rounding explains",
    "lower precision": "what rounding explains in a lower precision, which is named",
    "systematic": "within rounding, yet exactly what a known mistake does",
    "inherited": "wrong only because what enters the step is wrong already",
    "bug": "wrong by more than rounding explains, from right inputs",
}
"""Verdict on a tap -> what it means."""

OUTCOMES = ("agree", "agree in lower precision", "differ")
"""Of a whole comparison."""


@dataclass(frozen=True)
class Element:
    """One element of a tap: its index, and its value in the candidate and in the reference.

    error   |candidate - reference| in multiples of the tap's noise per element
    """

    index: tuple[int, ...]
    candidate: float
    reference: float
    error: float


@dataclass(frozen=True)
class TapVerdict:
    """What is found of one tap.

    tap          "blocks.0.attn.softmax", its cotangent "...:dy", or "blocks.0.attn.qkv.weight:grad"
    step         the step that makes it: for a cotangent the one that consumes the output, last in first out
    verdict      of `VERDICTS`
    format       the narrowest floating-point format that holds all its values: "float32", "bfloat16", ...
    local        error from the candidate's own inputs, in multiples of the rounding noise; the larger of the
                 two norms (whole tensor, worst token), each divided by its share of the threshold
    end_to_end   the same with everything computed from the image alone
    threshold    above which `local` is no rounding; `threshold_end_to_end` for `end_to_end`
    error        |c - r| / |r|, from the candidate's own inputs
    noise        rounding noise / |r|
    token        the worst token's index (image, token), where the tap has tokens
    span         steps between the given taps and this one: those that may be to blame
    why          the lower precision, or the mistake, in words; "" where the verdict says all
    worst        the worst elements
    """

    tap: str
    step: str
    verdict: str
    format: str
    local: float
    end_to_end: float
    threshold: float
    threshold_end_to_end: float
    error: float
    noise: float
    shape: tuple[int, ...]
    token: tuple[int, ...] | None = None
    span: tuple[str, ...] = ()
    why: str = ""
    worst: tuple[Element, ...] = ()


@dataclass(frozen=True)
class Cause:
    """A known mistake that explains what is found.

    mistake     its name in the catalogue
    places      the steps in which it is ("blocks.3.mlp.act"); () for the whole model
    confidence  "certain" (it explains all, and nothing else does), "likely" (others come within a factor of
                two), "possible"
    residual    what is left with the mistake in the reference, in multiples of its own rounding noise
    before      the same without it
    value       the constant that was estimated (an eps, a factor); None where the mistake has none
    share       how much of the mistake is there, by the matched filter: 1 is all of it; None where not used
    neighbours  other mistakes that explain it within a factor of two, the same as far as can be told
    """

    mistake: str
    what: str
    places: tuple[str, ...]
    confidence: str
    residual: float
    before: float
    value: float | None = None
    share: float | None = None
    neighbours: tuple[str, ...] = ()
    lines: str = ""
    evidence: tuple[str, ...] = ()
    refute: str = ""


@dataclass(frozen=True)
class Guilty:
    """A step, or a span of steps, that is wrong from right inputs.

    step    the step; for a span the last one
    span    the steps that may be to blame, in the order of the forward pass; one where it is exact
    passes  "forward", "backward", or "both"
    taps    its wrong taps, worst first
    """

    step: str
    span: tuple[str, ...]
    passes: str
    taps: tuple[str, ...]
    ratio: float


@dataclass(frozen=True)
class Diagnosis:
    """causes   what explains the differences, together; () when none of the known causes does
    unexplained  the guilty steps that no cause explains
    ranked       for the reader: the best single hypotheses (mistake -> residual), best first
    undecided    mistakes that cannot be told from honest rounding at this precision, with these taps
    tried        how many hypotheses were evaluated
    seconds      how long it took
    """

    causes: tuple[Cause, ...]
    unexplained: tuple[str, ...]
    ranked: Mapping[str, float]
    undecided: tuple[str, ...] = ()
    tried: int = 0
    seconds: float = 0.0

    @property
    def is_explained(self) -> bool:
        return bool(self.causes) and not self.unexplained

    def below_noise(self, tap: str) -> str:
        """The mistake that was found in a tap although it is within rounding; "" for none."""
        causes = (cause for cause in self.causes if cause.share is not None and tap in cause.places)
        return next((cause.mistake for cause in causes), "")


@dataclass(frozen=True)
class Picture:
    """A small 2-D array worth looking at: a wrong attention map in the candidate and in the reference."""

    title: str
    candidate: HostArray
    reference: HostArray


@dataclass(frozen=True)
class Report:
    """The verdict on a candidate.

    outcome    of `OUTCOMES`
    precision  in which the candidate computes, as read from the bits: "float32", "bfloat16", "mixed", ...
    taps       in the order of the forward pass, then of the backward pass, then parameters
    guilty     first wrong step first; () when none is
    missing    steps that the candidate says nothing about
    about      what was compared: names of the files, versions, images, seconds, the rule's constants
    """

    outcome: str
    precision: str
    taps: tuple[TapVerdict, ...]
    guilty: tuple[Guilty, ...]
    diagnosis: Diagnosis | None = None
    missing: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        return self.outcome != "differ"

    @property
    def first(self) -> Guilty | None:
        """The first wrong step."""
        return self.guilty[0] if self.guilty else None
