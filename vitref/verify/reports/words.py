"""Numbers, names and findings in words: the sentences that the terminal and the page share."""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from vitref.verify.verdicts import Guilty, Report, TapVerdict

LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
BLOCK = re.compile(r"\bblocks\.(\d+)\b")

PASSES = {"forward": "forward", "backward": "backward", "both": "forward and backward"}
"""Of a `Guilty`, in words."""


def number(value: float) -> str:
    """Two digits, as they are read aloud: "0.34", "13", "340,000", "3.4 million", "4e+17"."""
    if not math.isfinite(value):
        return "unbounded"
    rounded = float(f"{value:.1e}")
    if abs(rounded) >= 1e15:
        return f"{rounded:.2g}"
    for size, name in LARGE:
        if abs(rounded) >= size:
            return f"{_digits(rounded / size)} {name}"
    return "under 0.001" if 0 < rounded < 1e-3 else _digits(rounded)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def times(ratio: float) -> str:
    """A ratio: "340,000 times"."""
    return f"{number(ratio)} times" if math.isfinite(ratio) else "infinitely many times"


def count(amount: int, noun: str) -> str:
    """ "1 tap", "1,024 taps"."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """The names, separated by commas; of many the first ones, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def folded(names: Iterable[str]) -> list[str]:
    """Names that differ in the number of the block alone, as one: "blocks.0-2,5.attn.softmax".

    In the order in which they first stand in `names`.
    """
    blocks: dict[str, set[int]] = {}
    for name in names:
        blocks.setdefault(pattern(name), set()).update(_block(name))
    return [name.replace("{}", _ranges(numbers)) if numbers else name for name, numbers in blocks.items()]


def pattern(name: str) -> str:
    """The name with {} in the place of the block's number; the name itself when it names no block, or two."""
    return BLOCK.sub("blocks.{}", name) if _block(name) else name


def _block(name: str) -> set[int]:
    found = {int(block) for block in BLOCK.findall(name)}
    return found if len(found) == 1 else set()


def _ranges(numbers: Iterable[int]) -> str:
    """ "0-2,5" of 0, 1, 2, 5."""
    runs = groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in run] for _, run in runs]
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def place(guilty: Guilty) -> str:
    """The step, or the span of steps, and the pass: "blocks.0.attn.softmax (forward)"."""
    passes = PASSES[guilty.passes]
    if len(guilty.span) < 2:
        return f"{guilty.step} ({passes})"
    return f"one of the {len(guilty.span)} steps from {guilty.span[0]} to {guilty.span[-1]} ({passes})"


def noise_of(report: Report) -> str:
    if report.precision == "mixed":
        return "the rounding noise of its mixed precision"
    return f"the rounding noise of {report.precision}"


def margin(tap: TapVerdict) -> float:
    """The local error as a share of what is allowed; infinite where it has no bound."""
    share = tap.local / tap.threshold if tap.threshold else tap.local
    return share if not math.isnan(share) else math.inf


def missing(report: Report) -> str:
    """The sentence on steps of which the candidate has no tap; "" when there are none."""
    if not report.missing:
        return ""
    names = listed(folded(report.missing), 10)
    return f"The candidate says nothing about {count(len(report.missing), 'step')}: {names}."
