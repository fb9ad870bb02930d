"""Under which names the values of an ONNX graph are stored: as taps where they are recognised."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from vitref.config import Config
from vitref.verify.candidate import names
from vitref.verify.candidate.layouts import channels_first
from vitref.verify.candidate.libraries import onnx_values
from vitref.verify.candidate.resolve import rule_of
from vitref.verify.capture import onnx_structure
from vitref.verify.capture.naming import Change, as_it_is, final_tap
from vitref.verify.capture.onnx_graph import Result

ROOTS = ("vit", "embeddings", "patch_embed", "conv_proj", "encoder")
"""Parts of a path with which the names of a library begin; a wrapper's attribute may stand before."""


def stored(
    model: Any, found: list[Result], config: Config | None
) -> tuple[dict[str, Change], dict[str, str]]:
    """Value -> how it is stored; and what is left out -> why.

    Without a config, and where no block is recognised, all have the graph's names.
    """
    known = {} if config is None else places(model, config)
    recognised = any(change.tap.startswith("blocks.") for change in known.values())
    known = known if recognised else {}
    outputs = [value.name for value in model.graph.output]
    if len(outputs) == 1:
        known.setdefault(outputs[0], Change(final_tap(config), as_it_is))
    if not recognised:
        return {r.name: known.get(r.name, Change(r.name, as_it_is)) for r in found}, {}
    left_out = {r.name: "no step of the model" for r in found if r.name not in known}
    return {r.name: known[r.name] for r in found if r.name in known}, left_out


def places(model: Any, config: Config) -> dict[str, Change]:
    """Value -> the tap that it is; {} for a graph in which nothing is recognised.

    What its place in the graph does not tell (query, key and value of three layers) its name may.
    """
    known = {value: Change(tap, as_it_is) for value, tap in onnx_structure.taps_of(model, config).items()}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] in {value.name for value in model.graph.input}:
            known[node.output[0]] = Change("patch_embed.proj", partial(channels_first, config=config))
    taken = {change.tap for change in known.values()}
    values = [name for node in model.graph.node for name in node.output if name not in known]
    for value, change in _by_name(values, config).items():
        if change.tap not in taken:
            taken.add(change.tap)
            known[value] = change
    return known


def _by_name(values: Iterable[str], config: Config) -> Mapping[str, Change]:
    """Those whose names say which module of a known library returns them."""
    plain = {value: name for value in values if (name := plain_name(value))}
    modules = [parts[0] for name in plain.values() if (parts := onnx_values.split(name))]
    library = names.library_of(modules)
    rules = {value: rule_of(library, name, config) for value, name in plain.items()} if library else {}
    return {value: Change(rule.tap, rule.change) for value, rule in rules.items() if rule}


def plain_name(value: str) -> str:
    """The name that torch.onnx gives, without the container that a part of the path repeats.

    >>> plain_name("/blocks/blocks.0/norm1/LayerNormalization_output_0")
    '/blocks.0/norm1/LayerNormalization_output_0'
    """
    parts = value.split("/")
    kept = [
        part for part, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{part}.")
    ]
    start = next((i for i, part in enumerate(kept) if part in ROOTS), 0)
    return "/".join(["", *kept[start:]]).replace("//", "/") if value.startswith("/") else ""
