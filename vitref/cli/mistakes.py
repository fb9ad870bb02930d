"""`vitref mistakes`: plants each known mistake of Vision Transformers and says which checks notice it.

Exit code 0 only when every mistake is noticed, except those that are proven to change no output and no
gradient, which are listed with the proof. Needs Hypothesis: pip install "vitref[test]".
"""

import argparse
import importlib
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from vitref.cli.options import console, print_json
from vitref.errors import BackendError
from vitref.verify import mistakes
from vitref.verify.mistakes import Mistake

MEASURES = """\
output moves by: relative error (L2) of the final output, in the model that moves most; rounding alone
gives 1e-16 to 1e-14. taps: how many named arrays move by more than rounding explains. noticed by:"""

CHECKS = {
    "outputs": "the outputs are not those of a second program, written apart from the first",
    "gradients": "the gradients are not those of the forward pass, by complex steps",
    "keys": "a gradient is missing, extra or misshapen",
    "tensors": "the loaded weights are not those of the file",
    "pixels": "the preprocessed picture is not that of a second program",
    "order": "the backward pass does not undo the forward pass step by step",
    "refused": "vitref refuses it with an error",
    "suite": "the property suite of vitref.testing: suite.NAME is its property NAME, suite alone an error",
}
"""Check -> what it has found when it notices."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "mistakes", help="plant known mistakes and see which checks notice", description=__doc__
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these mistakes; default: all")
    parser.add_argument("--list", action="store_true", help="say what each is, without planting it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    chosen = [mistakes.find(name) for name in args.names] or list(mistakes.CATALOGUE.values())
    if args.list:
        print_json([described(mistake) for mistake in chosen]) if args.json else show_list(chosen)
        return 0
    verdicts = list(judged(chosen))
    passed = all(verdict.passed for verdict in verdicts)
    if args.json:
        print_json({"passed": passed, "mistakes": [plain(verdict) for verdict in verdicts]})
    else:
        show(verdicts, detailed=bool(args.names))
    return 0 if passed else 1


def judged(chosen: list[Mistake]) -> Iterator[Any]:
    """The verdicts, behind a progress bar on a terminal."""
    if importlib.util.find_spec("hypothesis") is None:
        raise BackendError(
            "mistakes",
            found="Hypothesis not installed",
            expected="it, for the property suite",
            remedy="Install it with pip install 'vitref[test]'.",
        )
    noticing = importlib.import_module("vitref.verify.noticing")
    err = Console(stderr=True)
    with Progress(console=err, disable=not err.is_terminal, transient=True) as progress:
        for mistake in progress.track(chosen, description="Planting"):
            yield noticing.judge(mistake)


def described(mistake: Mistake) -> dict[str, Any]:
    """What is known of a mistake, as plain values for JSON."""
    family = next(name for name, family in mistakes.FAMILIES.items() if mistake in family)
    return {
        "name": mistake.name,
        "family": family,
        "what": mistake.what,
        "look": mistake.look,
        "refute": mistake.refute,
        "evidence": list(mistake.evidence),
        "planted_in": mistake.planted_in,
        "backward": mistake.backward,
        "shows": mistake.shows,
        "free": mistake.free._asdict() if mistake.free else None,
        "needs": list(mistake.needs),
        "alike": list(mistake.alike),
        "alike_on": mistake.alike_on,
        "equivalent": mistake.equivalent,
        "lines": mistake.lines,
    }


def plain(verdict: Any) -> dict[str, Any]:
    """A verdict as plain values for JSON; what moves without bound is null."""
    models = {
        name: {
            "first": found.first,
            "output": found.output if math.isfinite(found.output) else None,
            "moved": len(found.moved),
            "gradients": sum(tap.endswith(":grad") for tap in found.moved),
        }
        for name, found in verdict.signatures.items()
    }
    outcome = {"noticed": list(verdict.noticed), "passed": verdict.passed, "models": models}
    return {**described(verdict.mistake), **outcome, "errors": dict(verdict.errors)}


def show_list(chosen: list[Mistake]) -> None:
    """One row per mistake, and each public report of it on a line of its own."""
    table = Table(box=None, pad_edge=False)
    for heading in ("mistake", "planted in"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is, and where it was reported", overflow="fold")
    for mistake in chosen:
        table.add_row(mistake.name, mistake.planted_in, Text("\n".join([mistake.what, *mistake.evidence])))
    console().print(table)


def show(verdicts: list[Any], *, detailed: bool) -> None:
    out = console()
    table = Table(box=None, pad_edge=False)
    for heading in ("mistake", "shows first at", "output moves by", "taps", "noticed by"):
        justify: Any = "right" if heading in ("output moves by", "taps") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "noticed by")
    for verdict in verdicts:
        table.add_row(*map(Text, row(verdict)), style="" if verdict.passed else "red")
    out.print(table)
    out.print(f"\n{MEASURES}", soft_wrap=True)
    seen = {check.partition(".")[0] for verdict in verdicts for check in verdict.noticed}
    for check in (check for check in CHECKS if check in seen):
        out.print(f"{check:10}{CHECKS[check]}", soft_wrap=True)
    for verdict in verdicts:
        if verdict.is_equivalent:
            proof = verdict.mistake.equivalent or "not known to be equivalent"
            out.print(f"\n{verdict.mistake.name} changes no output and no gradient: {proof}", markup=False)
        if detailed:
            explain(out, verdict.mistake)
    wrong = [verdict.mistake.name for verdict in verdicts if not verdict.passed]
    equivalent = sum(verdict.is_equivalent for verdict in verdicts)
    noticed = len(verdicts) - equivalent - len(wrong)
    out.print(f"\n{noticed} of {len(verdicts)} noticed, {equivalent} proven equivalent, {len(wrong)} missed")
    if wrong:
        out.print(f"Missed: {', '.join(wrong)}", style="red", markup=False)


def row(verdict: Any) -> tuple[str, ...]:
    """mistake, first tap, how far the output moves, how many taps do, by which checks it is noticed."""
    noticed = ", ".join(verdict.noticed) or ("(equivalent)" if verdict.passed else "nothing")
    if not verdict.strongest:
        return verdict.mistake.name, "", "", "0", noticed
    found = verdict.signatures[verdict.strongest]
    output = f"{found.error:.1e}" if found.output else "0"
    return verdict.mistake.name, found.first, output, str(len(found.moved)), noticed


def explain(out: Console, mistake: Mistake) -> None:
    """Its sentence, where to look for it, its evidence, and its lines of code."""
    out.print(f"\n{mistake.name}: {mistake.what}", markup=False)
    if mistake.evidence:
        out.print(f"Reported in {', '.join(mistake.evidence)}", markup=False)
    out.print(f"Look for: {mistake.look}", markup=False)
    out.print(f"Refute it: {mistake.refute}", markup=False)
    if mistake.alike:
        where = f" on {mistake.alike_on}" if mistake.alike_on else ""
        out.print(f"The same outputs{where}: {', '.join(mistake.alike)}", markup=False)
    if mistake.free:
        low, high, typical = mistake.free
        out.print(f"With any constant from {low:g} to {high:g}; planted with {typical:g}", markup=False)
    if mistake.lines:
        out.print(mistake.lines, markup=False)
