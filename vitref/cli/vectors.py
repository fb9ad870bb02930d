"""`vitref vectors`: test vectors for implementations in any language, as a folder.

Inputs, outputs, gradients and tolerances of every component and of small whole models, forwards and
backwards, with what must be refused; each says which known mistakes it exposes. docs/vectors.md has the
format and readers in C and Rust.
"""

import argparse
from typing import Any

from vitref.cli.options import print_json
from vitref.verify import vectors


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "vectors", help="test vectors for implementations in any language", description=__doc__
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder to make")
    parser.add_argument("--force", action="store_true", help="put it in the place of an older pack")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    summary = vectors.write(args.out, force=args.force)
    if args.json:
        print_json(summary)
    else:
        show(summary)
    return 0


def show(summary: dict[str, Any]) -> None:
    groups, results, mistakes = (summary[key] for key in ("groups", "vectors", "mistakes"))
    print(f"{summary['folder']}: {summary['format']}, {summary['bytes'] / 2**20:.1f} MiB")
    print(f"groups    {', '.join(f'{count} {kind}' for kind, count in groups.items())}")
    print(f"vectors   {', '.join(f'{count} {result}' for result, count in results.items())}")
    print(f"mistakes  {mistakes['exposed']} exposed", end="")
    print(f", not exposed: {', '.join(mistakes['not exposed'])}" if mistakes["not exposed"] else "")
    print(f"manifest  sha256 {summary['sha256']}")
