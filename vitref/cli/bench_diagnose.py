"""`vitref bench diagnose`: bugs planted in a second program, and honest programs, judged by vitref.

The bugs are written in PyTorch, apart from the mistakes that vitref knows and with other constants; some
are like none of them. Each candidate shows every activation, the blocks' outputs, the logits alone, or
cotangents and gradients, in float32 and bfloat16. Is it detected, is the first wrong step found, is the
cause named, or "none" where no known cause is right? Pairs of bugs; bugs whose right names are withheld
("without"); and honest programs of all engines that are installed, on which any alarm is false. Half of them
are held out: no constant was chosen by looking at these. Needs PyTorch.
"""

import argparse
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vitref import __version__
from vitref.benchmark.diagnosis import catalogue, cell, matrix, tables
from vitref.benchmark.diagnosis.answers import ANSWERS
from vitref.benchmark.diagnosis.bug import LEVELS, Bug
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.problem import Checkpoint
from vitref.cli.options import add_facts, console, given_fields, print_json
from vitref.errors import ConfigError
from vitref.weights.files import StrPath

SPLITS = ("all", "tuning", "held-out")
"""What --split takes."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "diagnose", help="how many planted bugs are found and named, and false alarms", description=__doc__
    )
    add_facts(parser)
    add = parser.add_argument
    add("--weights", metavar="FILE", help="a checkpoint in place of the small random models")
    add(
        "--image",
        metavar="FILE",
        action="append",
        default=[],
        help="a picture for it; may be repeated",
    )
    add("--only", metavar="NAMES", help="these bugs, pairs (A + B) or engines; default: all")
    add("--subjects", metavar="NAMES", help=f"default: {','.join(cell.SUBJECTS)}")
    add("--levels", metavar="NAMES", help=f"what candidates show; default: {','.join(LEVELS)}")
    add("--dtypes", metavar="NAMES", help=f"default: {','.join(cell.DTYPES)}")
    add("--seeds", metavar="NUMBERS", default="0", help="of the small random models; default: 0")
    add("--split", metavar="NAME", default="all", help=f"{', '.join(SPLITS)}; default: all")
    add("--limit", metavar="N", help="at most N of each kind, level and format")
    add("--jobs", metavar="N", default="1", help="processes; default: 1")
    add("--list", action="store_true", help="say what the bugs are, without planting them")
    add("--json", action="store_true", help="print the rates as JSON")
    add("--save", metavar="FILE", help="write every result to this file, and go on from what it holds")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.list:
        return show_list(args)
    _ = torch.Tensor
    cells, jobs = chosen(args), whole("--jobs", args.jobs, 1)
    known = {matrix.key(r): r for r in matrix.saved(args.save)} if args.save else {}
    old = [known[matrix.key_of(c)] for c in cells if matrix.key_of(c) in known]
    new = [c for c in cells if matrix.key_of(c) not in known]
    with progress_bar(len(new)) as advance, saving(args.save, list(known.values())) as keep:
        found = matrix.run(new, jobs=jobs, done=lambda result: (keep(result), advance())[0])
    show([*old, *found], args.json)
    return 0


def chosen(args: argparse.Namespace) -> list[cell.Cell]:
    names = cell.cells(
        subjects=_words("--subjects", args.subjects, cell.SUBJECTS),
        levels=_words("--levels", args.levels, LEVELS),
        dtypes=_words("--dtypes", args.dtypes, cell.DTYPES),
        seeds=[whole("--seeds", word, 0) for word in args.seeds.split(",")],
        checkpoint=checkpoint(args),
    )
    only = None if args.only is None else {word.strip() for word in args.only.split(",")}
    wanted = {"all": (True, False), "tuning": (True,), "held-out": (False,)}
    if args.split not in wanted:
        raise _unknown("--split", args.split, SPLITS)
    parts = wanted[args.split]
    cells = [c for c in names if (only is None or c.name in only) and c.is_tuning in parts]
    if missing := sorted((only or set()) - {c.name for c in cells}):
        raise _unknown("--only", ", ".join(missing), sorted(catalogue.BUGS))
    return matrix.sample(cells, None if args.limit is None else whole("--limit", args.limit, 1))


def checkpoint(args: argparse.Namespace) -> Checkpoint | None:
    if args.weights is None:
        return None
    if not args.image:
        raise ConfigError(
            "vitref bench diagnose",
            found="weights without a picture",
            expected="at least one",
            remedy="Give --image FILE.",
        )
    fields = tuple(given_fields(args).items())
    return Checkpoint(args.weights, tuple(args.image), args.convention, args.architecture, fields)


def _words(option: str, given: str | None, known: Sequence[str]) -> list[str]:
    words = list(known) if given is None else list(dict.fromkeys(given.split(",")))
    for word in words:
        if word not in known:
            raise _unknown(option, word, known)
    return words


def whole(option: str, word: str, least: int) -> int:
    if word.isascii() and word.isdigit() and int(word) >= least:
        return int(word)
    raise ConfigError(
        option, found=word, expected=f"a whole number of at least {least}", remedy="Give such a number."
    )


def _unknown(option: str, found: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(
        option,
        found=found,
        expected=f"of {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}",
        remedy="See vitref bench diagnose --help, and --list.",
    )


def show_list(args: argparse.Namespace) -> int:
    rows = [(b.name, b.what, b.first, answer(b), half(b)) for b in catalogue.BUGS.values()]
    names = ("name", "what", "first", "answers", "split")
    if args.json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return 0
    table = Table("name", "what it does", "moves first", "right answers", "split")
    for row in rows:
        table.add_row(*row)
    console().print(table)
    return 0


def answer(bug: Bug) -> str:
    return ", ".join(ANSWERS[bug.name].names) if bug.name in ANSWERS else ""


def half(bug: Bug) -> str:
    return "tuning" if catalogue.is_tuning(bug.name) else "held out"


def show(results: list[matrix.Result], as_json: bool) -> None:
    if as_json:
        print_json({"about": about(), "rates": tables.plain(results)})
        return
    out = console()
    for title, part in tables.split(results).items():
        if part:
            out.print(tables.summary(part, f"Planted bugs: {title}"))
            out.print(tables.alarms(part, f"Honest programs: {title}"))
    out.print(tables.failures(results))


def about() -> dict[str, Any]:
    libraries = ("torch", "transformers", "jax", "onnxruntime", "numba", "cupy", "numpy")
    return {"vitref": __version__, **{name: v for name in libraries if (v := _version(name))}}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@contextmanager
def saving(path: StrPath | None, results: list[matrix.Result]) -> Iterator[Callable[[matrix.Result], None]]:
    """A function that keeps a result; the file is written now and then, and at the end in any case."""

    written = time.monotonic()

    def keep(result: matrix.Result) -> None:
        nonlocal written
        results.append(result)
        if path and time.monotonic() > written + matrix.EVERY:
            matrix.save(path, results, about())
            written = time.monotonic()

    try:
        yield keep
    finally:
        if path:
            matrix.save(path, results, about())


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    out = Console(stderr=True)
    columns = TextColumn("Judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
