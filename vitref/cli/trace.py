"""`vitref trace`: every activation and gradient of a pass, written to one safetensors file."""

import argparse
from collections.abc import Sized
from pathlib import Path
from typing import Any

import vitref
from vitref.cli.options import add_numerics, add_weights, load_weights, numerics
from vitref.errors import ConfigError


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "trace", help="every activation and gradient, written to one file", description=__doc__
    )
    add_weights(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture file")
    parser.add_argument("--out", metavar="FILE", required=True, help="the safetensors file to write")
    parser.add_argument(
        "--labels", metavar="K[,K...]", help="one class per image: also record every gradient of the loss"
    )
    parser.add_argument(
        "--only",
        metavar="TAP",
        action="append",
        help="record this tap alone; may be repeated (default: all, "
        "but for what is inside a kernel of the backend)",
    )
    add_numerics(parser, dtype="float64")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights = load_weights(args)
    recording = vitref.trace(
        weights,
        [Path(image) for image in args.images],
        labels=None if args.labels is None else _labels(args.labels),
        only=args.only,
        **numerics(args),
    )
    recording.save(args.out)
    counts = f"{_count(recording, 'tap')} of {_count(args.images, 'image')}"
    print(f"{args.out}: {counts}, {args.dtype}, {Path(args.out).stat().st_size / 2**20:.1f} MiB")
    kernels = sum(how == "kernel" for how in recording.ran.values())
    if kernels and args.only is None:
        print(f"{kernels} steps ran as kernels, which record what they return; --only TAP looks inside")
    return 0


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _labels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "--labels",
            found=repr(text),
            expected="whole numbers separated by commas",
            remedy="Write 281,7, say.",
        ) from None
