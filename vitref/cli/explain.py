"""`vitref explain`: a primitive's equation, derivation and worked numbers, or a composite's steps."""

import argparse
import importlib
import pkgutil
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitref import components, graph
from vitref.call import Call
from vitref.cli.options import add_weights, console, load_weights
from vitref.errors import ConfigError
from vitref.graph import vit
from vitref.run import Record, Run, Trace
from vitref.weights import Weights


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="a primitive's equation and gradient with worked numbers, or a composite's steps",
        description=__doc__,
    )
    parser.add_argument("component", metavar="COMPONENT", nargs="?", help="without it: list them all")
    add_weights(parser, optional=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    out = console()
    if args.component is None:
        listing(out)
        return 0
    module = find(args.component)
    weights = None if args.weights is None else load_weights(args)
    out.print((module.__doc__ or "").strip(), markup=False, soft_wrap=True)
    if weights is not None:
        show_steps(out, module, weights)
    return 0


def parts() -> dict[str, ModuleType]:
    """Name -> module of every primitive and composite."""
    return {
        entry.name: importlib.import_module(f"{package.__name__}.{entry.name}")
        for package in (components, graph)
        for entry in pkgutil.iter_modules(package.__path__)
    }


def find(name: str) -> ModuleType:
    known = parts()
    if name not in known:
        raise ConfigError(
            "explain", found=repr(name), expected=f"one of {', '.join(known)}", remedy="Name one of these."
        )
    return known[name]


def listing(out: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("component")
    table.add_column("what it is")
    for name, module in parts().items():
        table.add_row(name, (module.__doc__ or "").strip().splitlines()[0])
    out.print(table)


def show_steps(out: Console, module: ModuleType, weights: Weights) -> None:
    """Where `module` stands in the model of these weights: one row per step, at batch size 1."""
    records, run = forward_steps(weights)
    found = [record for record in records if record.part is module]
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "output", "parameters", "static arguments"):
        table.add_column(heading, overflow="fold")
    for record in found:
        shapes = [f"{run.outputs[path].shape}" for path in record.outputs]
        names = [name for name in record.parameters if name is not None]
        owned = "\n".join(f"{name} {run.parameters[name].shape}" for name in names)
        static = ", ".join(f"{key}={value}" for key, value in record.static.items())
        table.add_row(*map(Text, (record.path, "\n".join(shapes), owned, static)))
    where = f"\nIn {weights.source.path or 'this model'}, for one image:\n"
    out.print(where, markup=False, soft_wrap=True)
    out.print(table if found else "This model has no such step.")


def forward_steps(weights: Weights) -> tuple[list[Record], Run]:
    """The steps of one forward pass on a blank image, in the order in which they end."""
    config = weights.config
    blank = np.zeros((1, config.channels, *config.image_size), np.float32)
    call = Call.prepare(weights, blank, "numpy", "float32", "strict")
    run = call.run()
    vit.forward(Trace(run), call.image, **call.model)
    return run.stack, run
