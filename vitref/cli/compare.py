"""`vitref compare`: whether another implementation computes the same, and where it first does not.

REFERENCE is a trace (`vitref trace --out`), or a checkpoint with --image. CANDIDATE is a file or folder of
arrays, all taps or some, or nothing but the final output: `vitref capture` writes such files. No tolerance is
asked for: differences are measured against the rounding noise of the candidate's own precision.

Exit code 0 when it agrees, in its own or in a lower precision; 1 when it differs; 2 when there is no verdict,
because the input is wrong. With --propose-map nothing is compared, and 0 means that the map is written.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import vitref
from vitref.cli import propose
from vitref.cli.options import add_facts, console, labels, load_weights, print_json
from vitref.errors import CheckpointError, ConfigError
from vitref.verify import reports
from vitref.weights import Weights
from vitref.weights.files import read_metadata

Advance: TypeAlias = Callable[[str, float], None]
"""What is being done, and how much of the whole is done, from 0 to 1."""

REFUSAL = 2
"""Exit code without a verdict."""

TOP = 5


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "compare", help="whether another implementation computes the same", description=__doc__
    )
    add_arguments(parser)
    parser.add_argument("--diagnose", action="store_true", help="also look for the cause: vitref diagnose")
    parser.set_defaults(run=run, top=TOP, refusal=REFUSAL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("reference", metavar="REFERENCE", help="trace file of vitref, or checkpoint")
    add("candidate", metavar="CANDIDATE", help="file or folder of the other implementation's arrays")
    add("--weights", metavar="WEIGHTS", help="checkpoint of a trace; default: the one that the trace names")
    add("--image", metavar="FILE", nargs="+", help="picture files, where REFERENCE is a checkpoint")
    add("--labels", metavar="K[,K...]", help="one class per image: compare gradients of the loss, too")
    add("--map", metavar="FILE", help="JSON: the candidate's names -> taps")
    add("--propose-map", metavar="FILE", help="write a map for the names that are unknown, and end")
    add("--precision", metavar="NAME", help="of the candidate, where its bits do not show it: tf32, say")
    add("--all", action="store_true", help="list every tap")
    add("--json", action="store_true", help="print JSON")
    add("--html", metavar="FILE", help="write the report as one page")
    add_facts(parser)


def run(args: argparse.Namespace) -> int:
    return compared(args, diagnose=args.diagnose)


def compared(args: argparse.Namespace, *, diagnose: bool) -> int:
    """Compare, print the report, write the page; the exit code."""
    given = asked(args)
    if args.propose_map:
        return propose.write(args.propose_map, args.candidate, args.map, **given)
    with progress_bar() as advance:
        report = vitref.compare(
            candidate=args.candidate,
            map=args.map,
            precision=args.precision,
            diagnose=diagnose,
            progress=advance,
            **given,
        )
    if args.json:
        print_json(reports.plain(report))
    else:
        reports.show(report, console(), everything=args.all, top=args.top)
    if args.html:
        reports.save_page(report, args.html)
    return 0 if report.agrees else 1


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """The reference, and what it is to compute, as arguments of `vitref.compare`."""
    facts = bool(args.convention or args.architecture or args.fields)
    classes = None if args.labels is None else labels(args.labels)
    images = None if args.image is None else [Path(image) for image in args.image]
    rest = {"image": images, "labels": classes}
    if not is_trace(args.reference):
        _refuse_if(args.weights is not None, "--weights", "a checkpoint as REFERENCE, too")
        return {"reference": _weights(args, args.reference), **rest}
    _refuse_if(facts and args.weights is None, "--convention, --architecture, --set", "no --weights")
    weights = None if args.weights is None else _weights(args, args.weights)
    return {"reference": args.reference, "weights": weights, **rest}


def is_trace(path: str) -> bool:
    """Whether it is a file that `vitref trace` wrote. Raises CheckpointError for one that cannot be read,
    and for what `vitref capture` wrote."""
    metadata = read_metadata(path) if path.endswith(".safetensors") and os.path.isfile(path) else {}
    if "capture" in metadata:
        raise CheckpointError(
            path,
            found="what vitref capture recorded of another implementation",
            expected="a trace of vitref's own, or a checkpoint",
            remedy="Give the reference first and the candidate second.",
        )
    return "trace" in metadata


def _weights(args: argparse.Namespace, path: str) -> Weights:
    return load_weights(argparse.Namespace(**{**vars(args), "weights": path}))


def _refuse_if(wrong: bool, where: str, found: str) -> None:
    if wrong:
        raise ConfigError(
            where,
            found=found,
            expected="one checkpoint, and facts about it: REFERENCE, or --weights where REFERENCE is a trace",
            remedy="Leave the option out, or give --weights.",
        )


@contextmanager
def progress_bar() -> Iterator[Advance | None]:
    """What to call on the way: None where nobody is watching standard error."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Comparing", total=1.0)
        yield lambda what, share: progress.update(task, description=escape(what), completed=share)
