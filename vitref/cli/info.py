"""`vitref info`: the facts about a checkpoint, each with where it came from."""

import argparse
import math
from typing import Any

from rich.table import Table
from rich.text import Text

from vitref.cli.explain import forward_steps
from vitref.cli.options import add_weights, console, load_weights, print_json
from vitref.weights import Weights


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "info", help="the facts about a checkpoint, each with where it came from", description=__doc__
    )
    add_weights(parser)
    parser.add_argument("--tensors", action="store_true", help="list every tensor with shape and dtype")
    parser.add_argument("--taps", action="store_true", help="list the taps of a trace with their shapes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights = load_weights(args)
    if args.taps:
        list_taps(weights)
    elif args.json:
        print_json(facts(weights))
    else:
        show(weights, tensors=args.tensors)
    return 0


def facts(weights: Weights) -> dict[str, Any]:
    """Everything `vitref info` knows, as plain values."""
    source = weights.source
    values = weights.config.to_dict()
    pixels = weights.preprocessing.to_dict() if weights.preprocessing else {}
    return {
        "path": source.path,
        "format": source.format,
        "sha256": source.sha256,
        "parameters": sum(math.prod(array.shape) for array in weights.values()),
        "config": {k: {"value": v, "from": source.provenance.get(k, "")} for k, v in values.items()},
        "preprocessing": {k: {"value": v, "from": source.provenance.get(k, "")} for k, v in pixels.items()},
        "notes": {k: v for k, v in source.provenance.items() if k not in values and k not in pixels},
        "tensors": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in weights.items()
        },
    }


def show(weights: Weights, *, tensors: bool) -> None:
    out, found = console(), facts(weights)
    for key in ("path", "format", "sha256"):
        out.print(f"{key:11}{found[key]}", soft_wrap=True, markup=False)
    count = f"{found['parameters']:,} in {len(weights)} tensors"
    out.print(f"parameters {count}")
    for part in ("config", "preprocessing"):
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        for heading in ("field", "value", "from"):
            table.add_column(heading, overflow="fold")
        for field, fact in found[part].items():
            table.add_row(field, Text(_plain(fact["value"])), Text(fact["from"]))
        out.print()
        out.print(table if found[part] else f"{part}: not known; pictures cannot be used")
    if found["notes"]:
        out.print("\nnotes")
        for name, note in found["notes"].items():
            out.print(f"{name}: {note}", soft_wrap=True, markup=False)
    if tensors:
        out.print()
        for name, tensor in found["tensors"].items():
            out.print(f"{name}  {_plain(tensor['shape'])}  {tensor['dtype']}")


def list_taps(weights: Weights) -> None:
    """Every named output with its shape for one image, in the order of the forward pass."""
    _, run = forward_steps(weights)
    for name, output in run.outputs.items():
        print(f"{name}  {output.shape}")
    print("With labels also loss; NAME:dy, the cotangent of each of these; and PARAMETER:grad.")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
