"""`vitref bench`: time and memory of the reference, beside other libraries where they are installed.

Each library is a process of its own; they take turns, and medians are compared. PyTorch, JAX and ONNX
Runtime (which needs torch and onnx for the export) take part when they are installed beside vitref.
"""

import argparse
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vitref.benchmark import report
from vitref.benchmark.candidates import CANDIDATES, PEERS
from vitref.benchmark.case import BATCHES, DTYPES, MODELS, PASSES, Case
from vitref.benchmark.interleave import measure
from vitref.cli.options import print_json
from vitref.config import Config
from vitref.errors import BackendError, ConfigError

ROUNDS = 5
WIDE = 200
"""Columns of the table where it is not shown in a terminal."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bench", help="time and memory, beside other libraries", description=__doc__
    )
    parser.add_argument("--models", metavar="NAMES", help=f"default: {','.join(MODELS)}")
    parser.add_argument("--batch", metavar="NUMBERS", help=f"default: {','.join(map(str, BATCHES))}")
    parser.add_argument("--dtype", metavar="NAMES", help=f"default: {','.join(DTYPES)}")
    parser.add_argument("--passes", metavar="NAMES", help=f"default: {','.join(PASSES)}")
    parser.add_argument("--rounds", metavar="N", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"of {','.join(PEERS)}, or none; default: those installed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, every round included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    cases, names = chosen_cases(args), ["vitref", *chosen_peers(args.peers)]
    _positive("--rounds", str(args.rounds))
    _require_threadpoolctl()
    about = report.machine()
    with progress_bar(len(cases) * len(names) * (args.rounds + 1)) as advance:
        results = {case: measure(case, names, args.rounds, advance(case)) for case in cases}
    if args.json:
        print_json(report.plain(results, about, args.rounds))
        return 0
    console = Console(soft_wrap=True, width=None if Console().is_terminal else WIDE)
    for name, value in {**about, **report.libraries(results)}.items():
        console.print(f"{name}: {value}", highlight=False)
    console.print(f"{args.rounds} rounds: medians, and peak memory above that of the built model")
    console.print()
    console.print(report.table(results))
    return 0


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    """All combinations of what was asked for."""
    models = _words("--models", args.models, MODELS)
    for model in models:
        Config.variant(model, convention="timm")
    batches = [_positive("--batch", word) for word in _words("--batch", args.batch, tuple(map(str, BATCHES)))]
    dtypes = _words("--dtype", args.dtype, DTYPES, DTYPES)
    passes = _words("--passes", args.passes, PASSES, PASSES)
    return [Case(*words) for words in itertools.product(models, batches, dtypes, passes)]


def chosen_peers(given: str | None) -> list[str]:
    """Those asked for, all of which must be installed; or all that are installed."""
    if given is None:
        return [name for name in PEERS if not CANDIDATES[name].missing()]
    if given == "none":
        return []
    names = _words("--peers", given, PEERS, PEERS)
    for name in names:
        if missing := CANDIDATES[name].missing():
            raise BackendError(
                f"--peers {name}",
                found=f"{', '.join(missing)} not installed",
                expected="a library that is installed beside vitref",
                remedy=f"Install {', '.join(missing)}, or leave {name} out.",
            )
    return names


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[Case], Callable[[], None]]]:
    """A function of the case that gives the function to call after every step."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Benchmark", total=total)

        def advance(case: Case) -> Callable[[], None]:
            progress.update(task, description=" ".join(map(str, case)))
            return lambda: progress.advance(task)

        yield advance


def _words(option: str, given: str | None, default: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """The comma-separated words, without repetition."""
    words = list(default) if given is None else list(dict.fromkeys(given.split(",")))
    if unknown := [word for word in words if not word or (known and word not in known)]:
        raise ConfigError(
            option,
            found=", ".join(map(repr, unknown)),
            expected=f"among {', '.join(known or default)}, separated by commas",
            remedy="Correct the spelling.",
        )
    return words


def _positive(option: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word)):
        raise ConfigError(
            option, found=word, expected="a whole number of at least 1", remedy="Give such a number."
        )
    return int(word)


def _require_threadpoolctl() -> None:
    if importlib.util.find_spec("threadpoolctl") is None:
        raise BackendError(
            "bench",
            found="threadpoolctl not installed",
            expected="it, to tell which linear algebra library runs",
            remedy="Install it with pip install 'vitref[bench]'.",
        )
