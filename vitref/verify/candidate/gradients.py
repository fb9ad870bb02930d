"""Gradients of parameters, under the names and in the layouts that a library gives its parameters.

A gradient is called NAME:grad, NAME.grad or grad.NAME; in a file of nothing but gradients the parameters'
names alone will do. Layouts are those of `vitref.weights.formats`: kernels (in, out) are transposed, query,
key and value are stacked.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import CheckpointError
from vitref.verify.candidate.libraries import LIBRARIES
from vitref.verify.candidate.names import GRADIENT
from vitref.verify.candidate.stored import Stored
from vitref.weights.check import BLOCK
from vitref.weights.formats import FORMATS

ToCanonical = Callable[[Mapping[str, Any]], dict[str, Any]]


class Naming(NamedTuple):
    """One library's names: canonical name -> its names (three for query, key and value), and the way back.

    The names have slashes or dots, as the library has them.
    """

    library: str
    names: Mapping[str, Sequence[str]]
    to_canonical: ToCanonical

    @property
    def dotted(self) -> dict[str, tuple[str, str]]:
        """A name with dots -> canonical name, and the name as the library has it."""
        return {dots(name): (ours, name) for ours, names in self.names.items() for name in names}


def dots(name: str) -> str:
    return name.replace("/", ".")


def bare(name: str) -> str | None:
    """The parameter's name, with dots, in the name of a gradient; None when it is not marked as one."""
    name = dots(name)
    for ending in (GRADIENT, ".grad"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name.removeprefix("grad.") if name.startswith("grad.") else None


@cache
def namings(config: Config) -> tuple[Naming, ...]:
    """The names of this model's parameters in every library that has such a model."""
    canonical = tuple(config.parameter_shapes())
    formats = [form for styles in FORMATS.values() for form in styles]
    found = [Naming(form.name, _names(form.names, canonical), form.to_canonical) for form in formats]
    return (*found, *(_listed(who, canonical) for who, table in LIBRARIES.items() if table.parameters))


def _names(of: Callable[[str], Sequence[str]], canonical: Iterable[str]) -> dict[str, Sequence[str]]:
    found = {}
    for name in canonical:
        try:
            found[name] = of(name)
        except KeyError:  # the library has no such parameter
            continue
    return found


def _listed(library: str, canonical: Iterable[str]) -> Naming:
    """The naming of a library that is known by its table alone; its layouts are the canonical ones."""
    table = LIBRARIES[library].parameters
    names: dict[str, Sequence[str]] = {}
    for name in canonical:
        block = BLOCK.match(name)
        general = f"blocks.{{L}}.{name[block.end() :]}" if block else name
        theirs = next((row for row, ours in table.items() if ours == general), None)
        if theirs is not None:
            names[name] = (theirs.replace("{L}", block[1] if block else ""),)
    back = {theirs[0]: ours for ours, theirs in names.items()}
    return Naming(library, names, lambda arrays: {back[name]: array for name, array in arrays.items()})


def parameters_only(names: Iterable[str], taps: Iterable[str], config: Config) -> bool:
    """Whether all are names of parameters, in one library, and not all are names of taps too."""
    names = {dots(name) for name in names}
    return not names <= set(taps) and any(names <= set(naming.dotted) for naming in namings(config))


def gradients(marked: Mapping[str, Stored], config: Config, where: str) -> tuple[dict[str, Stored], set[str]]:
    """NAME:grad -> array in the canonical layout; and which of the names were used.

    marked  the parameter's name, with dots -> the array

    Raises CheckpointError when one of query, key and value is missing, or they differ in dtype.
    """
    naming = max(namings(config), key=lambda naming: len(naming.dotted.keys() & marked.keys()))
    used = naming.dotted.keys() & marked.keys()
    wanted = dict.fromkeys(naming.dotted[name][0] for name in marked if name in used)
    return {f"{ours}{GRADIENT}": _gradient(ours, naming, marked, where) for ours in wanted}, set(used)


def _gradient(ours: str, naming: Naming, marked: Mapping[str, Stored], where: str) -> Stored:
    theirs = naming.names[ours]
    missing = [name for name in theirs if dots(name) not in marked]
    if missing:
        raise CheckpointError(
            where,
            found=f"no gradient of {', '.join(missing)}",
            expected=f"all {len(theirs)} parts of {ours}",
            remedy="Write the gradients of query, key and value, or leave out all three.",
        )
    parts = {name: marked[dots(name)] for name in theirs}
    return _assembled(ours, parts, naming.to_canonical)


def _assembled(ours: str, parts: Mapping[str, Stored], to_canonical: ToCanonical) -> Stored:
    first = next(iter(parts.values()))
    named = replace(first, name=", ".join(part.name for part in parts.values()))

    def made(arrays: Mapping[str, HostArray]) -> HostArray:
        return np.asarray(to_canonical(arrays).get(ours, next(iter(arrays.values()))))

    empty = {name: np.broadcast_to(np.zeros((), np.int8), part.shape) for name, part in parts.items()}
    if math.prod(first.shape) == 0:
        return named
    return replace(
        named,
        shape=tuple(made(empty).shape),
        load=lambda: made({name: part.load() for name, part in parts.items()}),
    )
