"""`vitref diagnose`: which known mistake makes another implementation compute something else.

It takes the arguments of `vitref compare` and does what that does. Then it puts every known mistake, and
pairs of them, into the reference until one computes what the candidate does. Its exit codes are the same.
"""

import argparse
from typing import Any

from vitref.cli.compare import REFUSAL, TOP, add_arguments, compared
from vitref.errors import ConfigError


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "diagnose", help="which known mistake explains a difference", description=__doc__
    )
    add_arguments(parser)
    parser.add_argument(
        "--top",
        type=int,
        default=TOP,
        metavar="N",
        help=f"how many single mistakes to rank; default: {TOP}",
    )
    parser.set_defaults(run=run, refusal=REFUSAL)


def run(args: argparse.Namespace) -> int:
    if args.top < 0:
        raise ConfigError("--top", found=str(args.top), expected="at least 0", remedy="Give a larger number.")
    return compared(args, diagnose=True)
