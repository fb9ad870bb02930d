"""`vitref bench`: time and memory of vitref's backends, beside other libraries where they are installed.

Each library is a process of its own; they take turns, and medians are compared. On the processor: the
backends numpy and numba, PyTorch (eager, and compiled in three modes), JAX, ONNX Runtime and OpenVINO (which
need torch and onnx for the export), and the model's matrix products alone. With --device cuda: the backend
cupy, and timm's model (eager and compiled, in one dtype and under autocast), inputs resident on the device.
A backward pass is forward, loss and all gradients; the backend numba writes them into the arrays of the one
before (out=), as in a loop of training. Exits with 1 when a candidate fails or computes something else.
"""

import argparse
import importlib.util
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vitref import backends
from vitref.benchmark import report
from vitref.benchmark.candidates import BACKENDS, CANDIDATES, FLOORS, PEERS, family, own_name
from vitref.benchmark.case import DEVICES, DTYPES, PASSES, PRECISIONS, Case
from vitref.benchmark.interleave import Outcome, measure
from vitref.cli import bench_diagnose
from vitref.cli.options import print_json
from vitref.errors import BackendError, ConfigError
from vitref.weights.files import atomic_write

MODELS, BATCHES, SIZES = ("ViT-Ti/16", "ViT-B/16"), ("1", "8"), ("224",)
ROUNDS = 5
WIDE = 250
"""Columns of the tables where they are not shown in a terminal."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bench", help="time and memory, beside other libraries", description=__doc__
    )
    add = parser.add_argument
    add("--device", metavar="NAME", default="cpu", help=f"{' or '.join(DEVICES)}; default: cpu")
    add("--models", metavar="NAMES", help=f"default: {','.join(MODELS)}")
    add("--batch", metavar="NUMBERS", help=f"default: {','.join(BATCHES)}")
    add("--dtype", metavar="NAMES", help=f"of {','.join(DTYPES)}; default: float32")
    add("--precision", metavar="NAMES", help=f"of float32: {','.join(PRECISIONS)}; default: strict")
    add("--passes", metavar="NAMES", help=f"default: {','.join(PASSES)}")
    add("--image-size", metavar="NUMBERS", help="pixels of a side; default: 224")
    add("--depth", metavar="N", help="number of blocks; default: those of the model")
    add("--rounds", metavar="N", default=str(ROUNDS), help=f"default: {ROUNDS}")
    add("--backends", metavar="NAMES", help=f"of {','.join(BACKENDS)}; default: those installed")
    add("--peers", metavar="NAMES", help=f"of {','.join(peers())}, or none; default: those installed")
    add("--json", action="store_true", help="print JSON, every round included")
    add("--save", metavar="FILE", help="write the JSON to this file after every case")
    parser.set_defaults(run=run)
    bench_diagnose.register(parser.add_subparsers(title="other benchmarks", metavar=""))


def run(args: argparse.Namespace) -> int:
    cases, names = chosen_cases(args), [*chosen_backends(args), *chosen_peers(args)]
    rounds = _positive("--rounds", args.rounds)
    if not any(CANDIDATES[name].runs(case) for name in names for case in cases if name.startswith("vitref")):
        raise ConfigError(
            "--dtype, --precision, --device",
            found="what none of the chosen backends computes in",
            expected="a dtype and precision of theirs: vitref backends",
            remedy="Change these, or --backends (cupy needs --device cuda).",
        )
    _require("threadpoolctl", "bench")
    about = report.machine()
    results: dict[Case, Outcome] = {}
    _save(args.save, report.plain(results, about, rounds))
    with progress_bar(len(cases) * len(names) * (rounds + 1)) as advance:
        for case in cases:
            results[case] = measure(case, names, rounds, advance(case))
            _save(args.save, report.plain(results, about, rounds))
    if args.json:
        print_json(report.plain(results, about, rounds))
    else:
        _print(results, about, rounds)
    return _verdict(results)


def _print(results: report.Results, about: dict[str, Any], rounds: int) -> None:
    console = Console(soft_wrap=True, width=None if Console().is_terminal else WIDE)
    for name, value in {**about, **report.libraries(results)}.items():
        console.print(f"{name}: {value}", highlight=False)
    console.print(f"{rounds} rounds: medians, and peak memory above that of the built model")
    console.print("below 1, vitref is quicker or smaller; best: the quickest peer")
    for table in (report.times(results), report.memory(results)):
        console.print()
        console.print(table)
    for line in report.left_out(results, failed=False):
        console.print(f"left out: {line}", highlight=False)


def _verdict(results: report.Results) -> int:
    """Raises BackendError when a candidate failed."""
    if failed := report.left_out(results, failed=True):
        raise BackendError(
            "bench",
            found="\n".join(failed),
            expected="candidates that run and compute the same",
            remedy="Leave them out with --peers or --backends, or repair their installation.",
        )
    return 0


def _save(path: str | None, values: dict[str, Any]) -> None:
    """Before the first case, too: that a file cannot be written is known at once."""
    if path:
        with atomic_write(path) as file:
            file.write((json.dumps(values, indent=1) + "\n").encode())


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    """All combinations of what was asked for; `precision` multiplies those in float32 alone."""
    _words("--device", args.device, (), DEVICES)
    depth = _positive("--depth", args.depth) if args.depth else 0
    cases = [
        Case(model, batch, dtype, direction, precision, size, depth, args.device)
        for model, size, batch, dtype, precision, direction in itertools.product(
            _words("--models", args.models, MODELS),
            _numbers("--image-size", args.image_size, SIZES),
            _numbers("--batch", args.batch, BATCHES),
            _words("--dtype", args.dtype, DTYPES[:1], DTYPES),
            _words("--precision", args.precision, PRECISIONS[:1], PRECISIONS),
            _words("--passes", args.passes, PASSES, PASSES),
        )
    ]
    for case in cases:
        _ = case.config
    return list(dict.fromkeys(c if c.dtype == "float32" else c._replace(precision="strict") for c in cases))


def chosen_backends(args: argparse.Namespace) -> list[str]:
    """The candidates that are vitref: the backends asked for, or those of the device that are installed."""
    here = {name: own for name, own in BACKENDS.items() if own.device == args.device}
    if args.device == "cuda":
        backends.get("cupy")
    if args.backends is None:
        return [own_name(name) for name, own in here.items() if not own.missing()]
    names = _words("--backends", args.backends, (), tuple(here))
    for name in names:
        backends.get(name)
    return list(map(own_name, names))


def peers(device: str | None = None) -> list[str]:
    """What --peers may name: candidates beside vitref, and their families."""
    beside = [name for name, c in {**PEERS, **FLOORS}.items() if device in (None, c.device)]
    return list(dict.fromkeys(word for name in beside for word in (family(name), name)))


def chosen_peers(args: argparse.Namespace) -> list[str]:
    """Those asked for, all of which must be installed; or all that are installed."""
    beside = [name for name in peers(args.device) if name in CANDIDATES]
    if args.peers is None:
        return [name for name in beside if not CANDIDATES[name].missing()]
    if args.peers == "none":
        return []
    words = _words("--peers", args.peers, (), peers(args.device))
    names = [name for name in beside if name in words or family(name) in words]
    for name in names:
        _require_installed(name)
    return names


def _require_installed(name: str) -> None:
    if missing := CANDIDATES[name].missing():
        raise BackendError(
            f"--peers {name}",
            found=f"{', '.join(missing)} not installed",
            expected="a library that is installed beside vitref",
            remedy=f"Install {', '.join(missing)}, or leave {name} out.",
        )


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[Case], Callable[[], None]]]:
    """A function of the case that gives the function to call after every step."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Benchmark", total=total)

        def advance(case: Case) -> Callable[[], None]:
            progress.update(task, description=" ".join(report.describe(case)))
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
            remedy="Name some of these.",
        )
    return words


def _numbers(option: str, given: str | None, default: Sequence[str]) -> list[int]:
    return [_positive(option, word) for word in _words(option, given, default)]


def _positive(option: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word)):
        raise ConfigError(
            option, found=word, expected="a whole number of at least 1", remedy="Give such a number."
        )
    return int(word)


def _require(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BackendError(
            "bench",
            found=f"{module} not installed",
            expected="it, to tell which linear algebra library runs",
            remedy=f"Install it with pip install 'vitref[{extra}]'.",
        )
