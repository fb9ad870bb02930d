"""Judged: everything that is measured of a candidate, and what follows from it tap by tap."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from vitref.array import HostArray
from vitref.verify.examine import Examined, Formats
from vitref.verify.reference import Reference
from vitref.verify.rule import thresholds
from vitref.verify.steps import Steps

FUSED = (".attn.q:dy", ".attn.k:dy", ".attn.v:dy", ".attn.qkv:dy")
"""Ends of the cotangents that a fused kernel of attention returns."""

FEW = 3
"""So many outputs of several steps each tell a lower precision from a mistake of its size."""


@dataclass(eq=False)
class Judged:
    """Everything that is measured, and what follows from it tap by tap.

    ladder     wrong tap -> the lower precision that explains it, in words
    suspected  the same, also where one output is too little to believe it
    """

    held: Reference
    steps: Steps
    taps: Mapping[str, HostArray]
    formats: Formats
    found: Examined
    ladder: dict[str, str] = field(default_factory=dict)
    suspected: dict[str, str] = field(default_factory=dict)

    def limits(self, tap: str) -> tuple[float, float]:
        """The thresholds of a tap: from the candidate's own inputs, and from end to end."""
        limits, own = thresholds(self.formats.precision), thresholds(self.formats.of(tap))
        backward = tap.endswith((":dy", ":grad"))
        fused = self.formats.fused and tap.endswith(FUSED)
        return own.fused if fused else own.local, limits.backward if backward else limits.forward

    def ratios(self, tap: str) -> tuple[float, float]:
        return self.found.local[tap].ratio().larger, self.found.end_to_end[tap].ratio().larger

    @cached_property
    def wrong(self) -> list[str]:
        """Taps that are wrong from the candidate's own inputs; where none is, the first that drifts."""
        local = [tap for tap in self.found.local if self.ratios(tap)[0] > self.limits(tap)[0]]
        drifting = [tap for tap in self.found.local if self.ratios(tap)[1] > self.limits(tap)[1]]
        return local or drifting[:1]

    @property
    def bugs(self) -> list[str]:
        """Wrong taps that no lower precision explains."""
        return [tap for tap in self.wrong if tap not in self.ladder]

    def span(self, tap: str) -> tuple[str, ...]:
        """The steps that may be to blame for it."""
        given = list(self.taps)
        if tap.endswith((":dy", ":grad")):
            given += self._implied
        drifts = self.ratios(tap)[0] <= self.limits(tap)[0]
        return tuple(step.path for step in self.steps.span(tap, () if drifts else given))

    @cached_property
    def _implied(self) -> list[str]:
        """Cotangents that are right because every gradient of their step's parameters is."""
        wrong, taps = set(self.wrong), self.found.local
        owners = [step for step in self.steps.steps if step.parameters]
        right = [
            step
            for step in owners
            if all(f"{name}:grad" in taps and f"{name}:grad" not in wrong for name in step.parameters)
        ]
        return [f"{output}:dy" for step in right for output in step.outputs]

    @property
    def believed(self) -> dict[str, str]:
        """The lower precisions, of those suspected, that are more than a size that fits.

        One step by itself is judged by how its error looks. Over several steps any error may have the size
        of a lower precision's: it is one when all such outputs are off so, and there are a few.
        """
        taps = [tap for tap in self.found.local if not tap.endswith((":dy", ":grad")) and tap != "loss"]
        words = {self.suspected.get(tap, "") for tap in taps if len(self.span(tap)) > 1}
        few = sum(len(self.span(tap)) > 1 for tap in taps) < FEW
        everywhere = not few and len(words) == 1 and "" not in words
        return {t: lower for t, lower in self.suspected.items() if everywhere or len(self.span(t)) == 1}
