"""`vitref backends`: which backends this machine can use, and why not the others."""

import argparse
from typing import Any

from rich.table import Table
from rich.text import Text

from vitref import backends
from vitref.cli.options import console, print_json

FACTS = ("device", "dtypes", "precision", "kernels", "versions")


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "backends", help="which backends can be used here, and why not the others", description=__doc__
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    found = {name: facts(name, reason) for name, reason in backends.available().items()}
    print_json(found) if args.json else show(found)
    return 0


def facts(name: str, reason: str | None) -> dict[str, Any]:
    """What is known of a backend, as plain values; only the reason when it is unavailable."""
    if reason is not None:
        return {"available": False, "reason": reason}
    backend = backends.get(name)
    versions = dict(backend.versions)
    return {
        "available": True,
        "device": versions.pop("device", "cpu"),
        "dtypes": list(backend.dtypes),
        "precision": list(backend.precision),
        "kernels": sorted(backend.kernels),
        "versions": versions,
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    """A table of all, then a line for each that is unavailable."""
    table = Table(box=None, pad_edge=False)
    for heading in ("backend", "available", *FACTS):
        table.add_column(heading, overflow="fold")
    for name, known in found.items():
        usable = "yes" if known["available"] else "no"
        table.add_row(name, usable, *(Text(_plain(known[fact])) if fact in known else "" for fact in FACTS))
    out = console()
    out.print(table)
    for known in found.values():
        if not known["available"]:
            out.print(Text(f"\n{known['reason']}"), soft_wrap=True)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items()) or "-"
    return value if isinstance(value, str) else ", ".join(value) or "-"
