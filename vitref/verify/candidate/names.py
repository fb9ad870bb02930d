"""From a library's name for a module to the tap that holds its output: `rule`, and which library it is.

Names may carry the ending `:dy` (the cotangent of that output; `:grad` and `.grad` of a module mean the
same) and may have slashes instead of dots. Parameters are not here: see `gradients`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.candidate import layouts
from vitref.verify.candidate.libraries import LIBRARIES, Table
from vitref.verify.candidate.libraries.table import BRANCH_1, BRANCH_2, FINAL, LAST_BLOCK, PRE_LOGITS, Target

COTANGENT, GRADIENT = ":dy", ":grad"

_NUMBER = re.compile(r"(0|[1-9]\d{0,5})(?:\.(.+))?")
_OUTPUTS = re.compile(r"(?:vit\.)?(hidden_states|attentions)[._](0|[1-9]\d{0,5})")
"""Fields of an output of transformers: hidden_states.0 is what enters the first block."""


class Rule(NamedTuple):
    """A module's output: the tap that it is, the change from the library's layout to the tap's, and how
    far down its table the name stands (of several names for one tap the first is read)."""

    tap: str
    change: Callable[[HostArray], HostArray]
    rank: int = 0


def rule(library: str, name: str, config: Config) -> Rule | None:
    """What the output of the module called `name` is; None when the library's table has no such module.

    library  one of `libraries.LIBRARIES`: "timm", "huggingface", "torchvision", "google"
    config   of the reference model: its heads, its depth, and which of the optional layers it has

    Raises ConfigError for an unknown library.

    >>> config = Config.variant("ViT-Ti/16", convention="timm")
    >>> rule("huggingface", "vit.encoder.layer.0.layernorm_before:dy", config).tap
    'blocks.0.norm1:dy'
    >>> rule("torchvision", "encoder.layers.encoder_layer_3.mlp.0", config).tap
    'blocks.3.mlp.fc1'
    """
    table = _table(library)
    module, ending = split(name)
    found = _settled_row(table, module, config)
    if found is None:
        return None
    target, rank = found
    tap, layout = target if isinstance(target, tuple) else (target, layouts.same)
    return Rule(f"{tap}{ending}", lambda array: layout(array, config), rank)


def library_of(names: Iterable[str]) -> str | None:
    """The library whose modules most of these names are; None when no library has any of them."""
    modules = [split(name)[0] for name in names]
    counts = {who: sum(_row(table, m) is not None for m in modules) for who, table in LIBRARIES.items()}
    best = max(counts, key=lambda who: counts[who])
    return best if counts[best] else None


def split(name: str) -> tuple[str, str]:
    """A name with dots between its parts, without its ending; and the ending of the tap, ":dy" or "".

    >>> split("vit/embeddings:grad")
    ('vit.embeddings', ':dy')
    """
    name = name.replace("/", ".")
    for ending in (COTANGENT, ".dy", GRADIENT, ".grad"):
        if name.endswith(ending):
            return name.removesuffix(ending), COTANGENT
    return name, ""


def runs_twice(library: str, name: str) -> bool:
    """Whether the module of this name runs more than once: its name does not say which output is meant."""
    table = _table(library)
    places = [_in_block(table, bare) for bare in _bare(table, split(name)[0])]
    return any(block and inner in table.several for block, inner in places)


def _table(library: str) -> Table:
    if library not in LIBRARIES:
        raise ConfigError(
            "library",
            found=repr(library),
            expected=f"one of {', '.join(LIBRARIES)}",
            remedy="Give the library by one of these names.",
        )
    return LIBRARIES[library]


def _bare(table: Table, module: str) -> Iterator[str]:
    """The name without what a recorder appends and without each prefix that it begins with."""
    ending = next((ending for ending in table.endings if f".{module}".endswith(ending)), "")
    module = f".{module}".removesuffix(ending).removeprefix(".")
    for prefix in table.prefixes:
        if module.startswith(prefix):
            yield module.removeprefix(prefix)


def _row(table: Table, module: str) -> tuple[Target, str, int] | None:
    """(target, prefix of the block's taps or "", rank) of the module of this name."""
    for bare in _bare(table, module):
        if bare in table.outer:
            return table.outer[bare], "", list(table.outer).index(bare)
        block, inner = _in_block(table, bare)
        if block and inner in table.inner:
            return table.inner[inner], block, list(table.inner).index(inner)
    return None


def _in_block(table: Table, bare: str) -> tuple[str, str]:
    """("blocks.3", name within the block) of a name without prefix; ("", "") outside the blocks."""
    for start in table.blocks:
        number = _NUMBER.fullmatch(bare.removeprefix(start)) if bare.startswith(start) else None
        if number:
            return f"blocks.{number[1]}", number[2] or ""
    return "", ""


def _settled_row(table: Table, module: str, config: Config) -> tuple[Target, int] | None:
    field = _OUTPUTS.fullmatch(module) if table is LIBRARIES["huggingface"] else None
    if field is not None:
        return _output_field(field[1], int(field[2])), len(table.outer)
    row = _row(table, module)
    if row is None:
        return None
    target, block, rank = row
    if isinstance(target, tuple):
        return (_within(block, target[0]), target[1]), rank
    return settled(_within(block, target), config), rank


def _output_field(field: str, number: int) -> str:
    if field == "attentions":
        return f"blocks.{number}.attn.softmax"
    return f"blocks.{number - 1}" if number else "embed"


def _within(block: str, tap: str) -> str:
    return ".".join(part for part in (block, tap) if part)


def settled(tap: str, config: Config) -> str:
    """The tap of this model that stands for a place in a table, and for a norm that it does not have."""
    block = tap.rpartition("<")[0]
    branch_1, branch_2 = ("ls1", "ls2") if config.layer_scale else ("attn", "mlp")
    places = {
        LAST_BLOCK: f"blocks.{config.depth - 1}",
        PRE_LOGITS: "pre_logits.fc" if config.pre_logits else "pooled",
        FINAL: "logits" if config.classes else "head_input",
        f"{block}{BRANCH_1}": f"{block}{branch_1}",
        f"{block}{BRANCH_2}": f"{block}{branch_2}",
        **({"fc_norm": "pooled"} if config.final_norm == "tokens" else {"norm": "tokens"}),
    }
    return places.get(tap, tap)
