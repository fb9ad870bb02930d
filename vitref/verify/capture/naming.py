"""Under which names and in which layouts a capture stores what it sees.

Of a model of a library that vitref knows, what is a tap is stored as that tap, laid out as vitref has it, and
the rest is left out. Of any other model everything is stored as the modules are named: `vitref compare` finds
out what it is, or is told by a map.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from vitref.array import HostArray
from vitref.config import Config
from vitref.verify.candidate import gradients, names

OUTPUT = "output"
"""What the model itself returns; its parts are `output.NAME`."""

INSIDE = {"q": "attn", "k": "attn", "v": "attn", "scores": "attn", "softmax": "attn", "context": "attn"}
INSIDE |= {"act": "mlp"}
"""Step that a function takes inside a module -> the part of the block that the module must be in."""

ENTERING = (
    (r"(blocks\.\d+)\.norm2", r"\1.add1"),
    (r"(blocks\.\d+\.attn)\.proj", r"\1.merge"),
    (r"blocks\.0", "embed"),
    (r"head", "head_input"),
)
"""Tap of a module's output -> the tap that enters it, where that is a step without a module of its own."""

PARTS = {"logits": "logits", "last_hidden_state": "tokens", "pooler_output": "pooled"}
"""Part of what a model of transformers returns -> tap."""

_PART = re.compile(r"(.*)\.([01])")


class Change(NamedTuple):
    """The name under which an array is stored, and what is done to its axes before."""

    tap: str
    change: Callable[[HostArray], HostArray]

    def __call__(self, array: HostArray) -> HostArray:
        return self.change(array)


class ByModule:
    """Everything as the modules are named; `final` is the tap of what the model returns."""

    library: str | None = None

    def __init__(self, final: str) -> None:
        self.final = final

    def place(self, name: str) -> Change | None:
        """How a module's output is stored, or a step inside it."""
        return Change(self.final if name == OUTPUT else name, as_it_is)

    def entering(self, name: str) -> Change | None:
        """How what enters a module is stored; None where it is seen elsewhere."""
        return _entering(name)

    def gradients(self, found: Mapping[str, HostArray]) -> Iterator[tuple[str, HostArray]]:
        """(name, array) of the gradients of parameters, given under the model's names."""
        yield from found.items()


class ByTap:
    """The taps of a model of a known library; None for what is no tap. The methods are those of `ByModule`.

    library  of `vitref.verify.candidate.libraries.LIBRARIES`
    prefix   what stands before the names of its modules in this model
    """

    def __init__(self, library: str, config: Config, prefix: str = "") -> None:
        self.library: str | None = library
        self.table, self.config, self.prefix = library, config, prefix

    def place(self, name: str) -> Change | None:
        if name == OUTPUT:
            return Change(final_tap(self.config), as_it_is)
        if name.startswith(f"{OUTPUT}."):
            part = PARTS.get(name.removeprefix(f"{OUTPUT}."))
            return Change(part, as_it_is) if part else None
        if not name.startswith(self.prefix):
            return None
        return self._module(name.removeprefix(self.prefix)) or self._inside(name.removeprefix(self.prefix))

    def entering(self, name: str) -> Change | None:
        found = self.place(name) if name else None
        return _entering(found.tap) if found else None

    def gradients(self, found: Mapping[str, HostArray]) -> Iterator[tuple[str, HostArray]]:
        own = {name.removeprefix(self.prefix): array for name, array in found.items()}
        known = gradients.namings(self.config)
        naming = max(known, key=lambda naming: len(naming.dotted.keys() & own.keys()))
        for ours, theirs in naming.names.items():
            if all(name in own for name in theirs):
                made = naming.to_canonical({name: own[name] for name in theirs})
                yield ours, made.get(ours, own[theirs[0]])

    def _module(self, name: str) -> Change | None:
        """Of a module with one output, or with several, of which the second is the attention's softmax."""
        if found := self._rule(name):
            return found
        part = _PART.fullmatch(name)
        whole = self._rule(part[1]) if part else None
        if part is None or whole is None or part[2] == "0":
            return whole
        return Change(f"{whole.tap}.softmax", as_it_is) if whole.tap.endswith(".attn") else None

    def _rule(self, name: str) -> Change | None:
        found = names.rule(self.table, name, self.config) if name else None
        return Change(found.tap, found.change) if found else None

    def _inside(self, name: str) -> Change | None:
        module, _, step = name.rpartition(".")
        found = self._rule(module) if step in INSIDE else None
        unit = re.match(rf"blocks\.\d+\.{INSIDE[step]}(?=\.|$)", found.tap) if found else None
        return Change(f"{unit[0]}.{step}", as_it_is) if unit else None


Naming: TypeAlias = ByModule | ByTap


def as_it_is(array: HostArray) -> HostArray:
    return array


def final_tap(config: Config | None) -> str:
    """The tap of a model's final output; the logits where nothing is known."""
    return "logits" if config is None or config.classes else "head_input"


def naming_of(modules: Iterable[tuple[str, str]], config: Config | None) -> Naming:
    """The naming for a model whose modules have these names and stem from these packages.

    The first module of a known library that has blocks inside is the model; all its names begin alike.
    """
    listed = list(modules)
    for path, package in listed:
        library = PACKAGES.get(package)
        prefix = f"{path}." if path else ""
        if config is not None and library and _has_blocks(library, prefix, listed, config):
            return ByTap(library, config, prefix)
    return ByModule(final_tap(config))


PACKAGES = {"timm": "timm", "transformers": "huggingface", "torchvision": "torchvision"}
"""Python package of a model's class -> the library whose names its modules have."""


def _has_blocks(library: str, prefix: str, modules: Iterable[tuple[str, str]], config: Config) -> bool:
    inside = [path.removeprefix(prefix) for path, _ in modules if path.startswith(prefix)]
    rules = (names.rule(library, path, config) for path in inside if path)
    return any(rule is not None and rule.tap == "blocks.0" for rule in rules)


def _entering(tap: str) -> Change | None:
    for pattern, before in ENTERING:
        if found := re.fullmatch(pattern, tap):
            return Change(found.expand(before), as_it_is)
    return None
