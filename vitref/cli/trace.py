"""`vitref trace`: every activation and gradient of a pass, written to one safetensors file.

With --variant it needs neither checkpoint nor picture: weights, image and labels are drawn from a seed, and
go into the file too.
"""

import argparse
from collections.abc import Sized
from pathlib import Path
from typing import Any

import vitref
from vitref import drawn
from vitref.cli.options import add_numerics, add_weights, labels, load_weights, numerics
from vitref.errors import ConfigError
from vitref.recording import Recording
from vitref.weights import Weights


class _Variant(argparse.Action):
    """--variant stands in the place of WEIGHTS and IMAGE, which are then no longer required."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        namespace.variant = value
        for action in self.const:
            action.required = False


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "trace", help="every activation and gradient, written to one file", description=__doc__
    )
    weights = add_weights(parser)
    images = parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture file")
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
    parser.add_argument("--with-weights", action="store_true", help="write the weights to the file too")
    parser.add_argument(
        "--variant",
        metavar="NAME",
        action=_Variant,
        const=(weights, images),
        help="instead of WEIGHTS and IMAGE: a small model with weights, image and labels drawn from --seed, "
        f"all of which go into the file ({', '.join(drawn.VARIANTS)})",
    )
    parser.add_argument("--seed", metavar="N", type=int, help="of --variant; default: 0")
    add_numerics(parser, dtype="float64")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    recording, weights = _drawn(args) if args.variant else _of_pictures(args)
    recording.save(args.out, weights)
    counts = f"{_count(recording, 'tap')} of {_count(recording.inputs['image'], 'image')}"
    print(f"{args.out}: {counts}, {args.dtype}, {Path(args.out).stat().st_size / 2**20:.1f} MiB")
    kernels = sum(how == "kernel" for how in recording.ran.values())
    if kernels and args.only is None:
        print(f"{kernels} steps ran as kernels, which record what they return; --only TAP looks inside")
    return 0


def _of_pictures(args: argparse.Namespace) -> tuple[Recording, Weights | None]:
    """A pass over picture files, and the weights if they are to be written."""
    if args.seed is not None:
        raise _not_together("--seed without --variant", "Leave it out, or write --variant tiny-test.")
    weights = load_weights(args)
    recording = vitref.trace(
        weights,
        [Path(image) for image in args.images],
        labels=None if args.labels is None else labels(args.labels),
        only=args.only,
        **numerics(args),
    )
    return recording, weights if args.with_weights else None


def _drawn(args: argparse.Namespace) -> tuple[Recording, Weights]:
    """A pass over what a variant draws."""
    given = (args.weights, args.labels, args.convention, args.architecture)
    if args.fields or any(value is not None for value in given):
        found = "--variant with WEIGHTS, IMAGE, --labels or facts about weights"
        raise _not_together(found, "Leave these out: a variant brings all of it.")
    weights, image, classes = drawn.draw(args.variant, 0 if args.seed is None else args.seed)
    return vitref.trace(weights, image, classes, only=args.only, **numerics(args)), weights


def _not_together(found: str, remedy: str) -> ConfigError:
    return ConfigError(
        "vitref trace", found=found, expected="WEIGHTS and IMAGE, or --variant and --seed", remedy=remedy
    )


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
