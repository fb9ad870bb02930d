"""`vitref info`: the facts about a checkpoint, each with where it came from."""

import argparse
import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitref.cli.options import add_weights, load_weights, print_json
from vitref.weights import Weights


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "info", help="the facts about a checkpoint, each with where it came from", description=__doc__
    )
    add_weights(parser)
    parser.add_argument("--tensors", action="store_true", help="list every tensor with shape and dtype")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights = load_weights(args)
    if args.json:
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
        "tensors": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in weights.items()
        },
    }


def show(weights: Weights, *, tensors: bool) -> None:
    console, found = Console(), facts(weights)
    for key in ("path", "format", "sha256"):
        console.print(f"{key:11}{found[key]}", soft_wrap=True, highlight=False, markup=False)
    count = f"{found['parameters']:,} in {len(weights)} tensors"
    console.print(f"parameters {count}", highlight=False)
    for part in ("config", "preprocessing"):
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        for heading in ("field", "value", "from"):
            table.add_column(heading, overflow="fold")
        for field, fact in found[part].items():
            table.add_row(field, Text(_plain(fact["value"])), Text(fact["from"]))
        console.print()
        console.print(table if found[part] else f"{part}: not known; pictures cannot be used")
    if tensors:
        console.print()
        for name, tensor in found["tensors"].items():
            console.print(f"{name}  {_plain(tensor['shape'])}  {tensor['dtype']}", highlight=False)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
