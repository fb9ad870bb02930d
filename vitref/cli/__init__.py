"""The command `vitref`: one module per group of subcommands, each with `register(subparsers)`.

Exit code 0 only on success; 1 when vitref refuses its input, with the reason on standard error; 2
for a wrong command line. `compare` and `diagnose` exit with 1 for a candidate that differs, and with 2 for
input that cannot be compared.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from vitref import __version__
from vitref.cli import (
    backends,
    bench,
    capture,
    classify,
    compare,
    convert,
    demo,
    diagnose,
    explain,
    info,
    mistakes,
    trace,
    train,
    vectors,
)
from vitref.errors import Error

MODULES = (
    demo,
    classify,
    info,
    trace,
    capture,
    compare,
    diagnose,
    vectors,
    convert,
    explain,
    train,
    bench,
    backends,
    mistakes,
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vitref", description="What a Vision Transformer exactly computes.")
    top.add_argument("--version", action="version", version=f"vitref {__version__}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in MODULES:
        module.register(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code."""
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Error as error:
        print(f"vitref: {error}", file=sys.stderr)
        if "convention=" in str(error) and "fields" in args:
            print("(Here: --set NAME=VALUE, --convention NAME, --architecture NAME.)", file=sys.stderr)
        refusal: int = getattr(args, "refusal", 1)
        return refusal
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe went away: nothing to report, nothing left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
