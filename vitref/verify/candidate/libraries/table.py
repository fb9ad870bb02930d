"""What a table of module names is, and the taps that stand for a place that not every model has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from vitref.verify.candidate.layouts import Layout

Target: TypeAlias = str | tuple[str, Layout]
"""A tap, or a tap and the layout in which the library has it."""

LAST_BLOCK = "<last block>"
FINAL = "<final output>"
BRANCH_1 = "<what add1 adds>"
BRANCH_2 = "<what add2 adds>"
PRE_LOGITS = "<what the representation layer returns before its tanh>"
"""Places that are another tap from model to model; `names.settled` knows which."""


@dataclass(frozen=True)
class Table:
    """The names of one library, with dots between their parts.

    outer       name of a module -> tap; of several modules with one and the same output the first row
                is the one that is read
    inner       name within a block -> tap within a block; "" is the block itself
    blocks      what stands before the number of a block
    prefixes    what may stand before every name
    endings     what a recorder appends to every name
    several     names within a block of modules that run more than once, so that their name does not say which
                output is meant
    parameters  name of a parameter -> canonical name, where `vitref.weights.formats` has no such library;
                {L} is the number of the block
    """

    outer: Mapping[str, Target]
    inner: Mapping[str, Target]
    blocks: tuple[str, ...]
    prefixes: tuple[str, ...] = ("",)
    endings: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
