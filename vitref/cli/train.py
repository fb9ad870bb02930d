"""`vitref train digits`: make the bundled checkpoint from scratch, or try one on the held-out digits."""

import argparse
import dataclasses
import os
import time
from typing import Any

from vitref.cli.options import BUNDLED, print_json
from vitref.errors import CheckpointError, ConfigError
from vitref.training import digits
from vitref.training.progress import progress_bar
from vitref.weights import Weights, bundled, load

OUT = "digits.safetensors"
SHOWN = 10
"""Errors that are listed."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser("train", help="train a model from scratch", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    task = tasks.add_parser("digits", help="the bundled model of handwritten digits", description=__doc__)
    task.add_argument("--out", metavar="FILE", help=f"where to save the weights; default: {OUT}")
    task.add_argument("--seed", type=int, help="of weights, order and shifts; default: 0")
    task.add_argument("--epochs", type=int, metavar="N", help=f"default: {digits.RECIPE.epochs}")
    task.add_argument("--backend", metavar="NAME", help="that trains, in float64; default: numpy")
    task.add_argument(
        "--evaluate",
        metavar="FILE",
        nargs="?",
        const=BUNDLED,
        help="train nothing; try this checkpoint, or the bundled one, on the held-out digits",
    )
    task.add_argument("--json", action="store_true", help="print JSON: file, total, right, accuracy, wrong")
    task.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    training, held_out = digits.split(digits.load())
    began = time.perf_counter()
    if args.evaluate is None:
        path, weights = _train(args, training)
    else:
        _refuse_training_options(args)
        path = str(bundled.checkpoint()) if args.evaluate == BUNDLED else args.evaluate
        weights = load(path)
    score = digits.evaluate(weights, held_out)
    if args.json:
        print_json({"file": path, **score._asdict(), "accuracy": score.accuracy})
        return 0
    if args.evaluate is None:
        seconds = time.perf_counter() - began
        print(f"Trained on {len(training.labels)} digits in {seconds:.0f} s; saved {path}")
    for position, label, predicted in score.wrong[:SHOWN]:
        print(f"  index {position}: labelled {label}, predicted {predicted}")
    if len(score.wrong) > SHOWN:
        print(f"  and {len(score.wrong) - SHOWN} more")
    print(f"Held-out digits: {score.right} of {score.total} right, accuracy {score.accuracy:.2%}")
    return 0


def _train(args: argparse.Namespace, training: digits.Digits) -> tuple[str, Weights]:
    """Train as the arguments say and save; (where, the weights)."""
    path, recipe = args.out or OUT, digits.RECIPE
    if args.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=args.epochs)
    _check_folder(path)
    with progress_bar("Training on digits") as report:
        weights = digits.train(
            training, recipe, seed=args.seed or 0, report=report, backend=args.backend or "numpy"
        )
    weights.save(path)
    return path, weights


def _check_folder(path: str) -> None:
    """Before minutes of work: raise CheckpointError when the file could not be saved."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise CheckpointError(
            f"--out {path}",
            found="a folder" if os.path.isdir(path) else "a folder that is missing or may not be written to",
            expected="a file in a folder that may be written to",
            remedy="Choose another path.",
        )


def _refuse_training_options(args: argparse.Namespace) -> None:
    given = [f"--{name}" for name in ("out", "seed", "epochs", "backend") if getattr(args, name) is not None]
    if given:
        raise ConfigError(
            "--evaluate",
            found=f"{', '.join(given)} beside it",
            expected="none of the options that are for training",
            remedy="Leave them out, or leave out --evaluate.",
        )
