"""`vitref demo`: the bundled digits model classified, looked at, differentiated, and checked on the spot."""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

import vitref
from vitref.array import HostArray
from vitref.call import model_arguments
from vitref.cli.classify import ranking
from vitref.graph import supervised
from vitref.images import crop
from vitref.run import Run, Trace
from vitref.testing.gradients import gradient_errors
from vitref.weights import Weights, bundled

SHADES = " .:-=+*#%@"


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo", help="classify bundled digits, show attention, check every gradient", description=__doc__
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    start, console = time.perf_counter(), Console(highlight=False)
    weights, paths = vitref.load(bundled.checkpoint()), bundled.images()
    labels = [_label(path) for path in paths]
    console.print(
        f"[bold]1. {len(paths)} handwritten digits[/bold] that the bundled model never saw in training"
    )
    right = classify(console, weights, paths, labels)
    console.print(f"   {right} of {len(paths)} right\n")
    console.print("[bold]2. Where the class token looks[/bold], in the last block")
    show_attention(console, weights, paths[labels.index(8)])
    console.print(
        "\n[bold]3. Every gradient of the loss[/bold], by hand-derived formulas, against complex step"
    )
    errors = check_gradients(weights, paths, labels)
    show_errors(console, errors)
    seconds = f"{time.perf_counter() - start:.1f} s"
    console.print(f"\n{seconds}. Next: {program()} explain, {program()} info bundled, README.md")
    return 0 if all(error < 1e-10 for error in errors.values()) else 1


def classify(console: Console, weights: Weights, paths: list[Path], labels: list[int]) -> int:
    """Print one line per picture; return how many are right."""
    table = Table(box=None, pad_edge=True)
    for heading in ("picture", "label", "predicted", "probability", "second", "its probability"):
        table.add_column(heading, justify="left" if heading == "picture" else "right")
    right = 0
    for path, label in zip(paths, labels, strict=True):
        names = [str(digit) for digit in range(weights.config.classes)]
        first, second = ranking(vitref.forward(weights, path)[0], names, 2)
        right += first["class"] == label
        style = "" if first["class"] == label else "red"
        probabilities = f"{first['probability']:.4f}", f"{second['probability']:.4f}"
        table.add_row(
            path.name,
            str(label),
            first["name"],
            probabilities[0],
            second["name"],
            probabilities[1],
            style=style,
        )
    console.print(table)
    return right


def show_attention(console: Console, weights: Weights, path: Path) -> None:
    """The picture, and beside it the class token's attention to the patches, one map per head."""
    config, recipe = weights.config, weights.preprocessing
    assert recipe is not None
    tap = f"blocks.{config.depth - 1}.attn.softmax"
    attention = vitref.trace(weights, path, only=tap)[tap][0, :, 0, 1:]
    pixels = crop([path], recipe)[0, :, :, 0] / 255.0
    maps = [weight.reshape(config.grid) / weight.max() for weight in attention]
    pictures = [pixels, *(np.kron(one, np.ones(config.patch_size)) for one in maps)]
    titles = [f"digit {_label(path)}", *(f"head {head}" for head in range(config.heads))]
    width = 2 * pixels.shape[1] + 4
    console.print("   " + "".join(title.ljust(width) for title in titles).rstrip())
    for rows in zip(*pictures, strict=True):
        cells = ("".join(2 * SHADES[int(v * (len(SHADES) - 1))] for v in row) for row in rows)
        console.print(Text("   " + "    ".join(cells)))
    shares = ", ".join(f"{share:.0%}" for share in attention.sum(axis=1))
    console.print(f"   Share of the attention that goes to patches: {shares}")


def check_gradients(weights: Weights, paths: list[Path], labels: list[int]) -> dict[str, float]:
    """Relative error of the gradient of every parameter and of the image, float64."""
    image = vitref.preprocess(paths, weights)
    gradients = vitref.backward(weights, image, labels, dtype="float64")
    arguments = {**model_arguments(weights.config), "labels": np.asarray(labels)}

    def loss(point: Mapping[str, HostArray]) -> Any:
        return Trace(Run(point, keep=False)).step("", supervised, point["image"], **arguments)

    point = {**{name: array.astype(np.float64) for name, array in weights.items()}, "image": image}
    return gradient_errors(loss, point, {**gradients.weights, "image": gradients.image}, seed=0)


def show_errors(console: Console, errors: dict[str, float]) -> None:
    """One line per kind of tensor: the largest relative error in any block."""
    kinds: dict[str, float] = {}
    for name, error in errors.items():
        kind = re.sub(r"^blocks\.\d+\.", "blocks.*.", name)
        kinds[kind] = float(np.maximum(kinds.get(kind, 0.0), error))  # a NaN stays
    table = Table(box=None)
    table.add_column("gradient of")
    table.add_column("relative error", justify="right")
    for kind, error in kinds.items():
        table.add_row(kind, f"{error:.1e}")
    console.print(table)
    console.print(f"   {len(errors)} gradients; largest relative error {np.max([*errors.values()]):.1e}")


def _label(path: Path) -> int:
    """The digit in a name such as digit_7_index_1234.png."""
    return int(path.stem.split("_")[1])


def program() -> str:
    """How this command is called here: by its name where the shell finds it, else by its path."""
    return "vitref" if shutil.which("vitref") else os.path.relpath(sys.argv[0])
