"""`vitref classify`: the most probable classes of pictures."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

import vitref
from vitref.array import HostArray
from vitref.cli.options import (
    add_numerics,
    add_weights,
    class_names,
    console,
    load_weights,
    numerics,
    print_json,
)
from vitref.components import softmax
from vitref.errors import ConfigError


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "classify", help="the most probable classes of pictures", description=__doc__
    )
    add_weights(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture file")
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="how many classes to show; default: 5"
    )
    parser.add_argument("--classes", metavar="FILE", help="names of the classes, one per line")
    parser.add_argument("--json", action="store_true", help="print JSON: class, name, probability and logit")
    add_numerics(parser, dtype="float32")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights = load_weights(args)
    if not weights.config.classes:
        raise ConfigError(
            "classify",
            found="a model without classifier (classes=0)",
            expected="a model with a head",
            remedy="Use vitref trace to get its features.",
        )
    if args.top < 1:
        raise ConfigError("--top", found=str(args.top), expected="at least 1", remedy="Give a larger number.")
    names = class_names(args, weights)
    one_by_one = vitref.stream(weights, map(Path, args.images), **numerics(args))
    results = [
        {"image": path, "top": ranking(logits[0], names, args.top)}
        for path, logits in zip(args.images, one_by_one, strict=True)
    ]
    if args.json:
        print_json(results)
    else:
        show(results)
    return 0


def ranking(logits: HostArray, names: list[str], top: int) -> list[dict[str, Any]]:
    """The `top` most probable classes of one image's logits (classes,), best first."""
    probabilities, _ = softmax.forward(logits)
    order = np.argsort(-logits, kind="stable")[:top]
    return [
        {"class": int(k), "name": names[k], "probability": float(probabilities[k]), "logit": float(logits[k])}
        for k in order
    ]


def show(results: list[dict[str, Any]]) -> None:
    """One block per picture: its path, then a line per class."""
    out = console()
    for result in results:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("class", "name", "probability", "logit"):
            table.add_column(heading, justify="left" if heading == "name" else "right")
        for row in result["top"]:
            table.add_row(
                str(row["class"]), Text(row["name"]), f"{row['probability']:.4f}", f"{row['logit']:.3f}"
            )
        out.print(result["image"], soft_wrap=True, markup=False)
        out.print(table)
