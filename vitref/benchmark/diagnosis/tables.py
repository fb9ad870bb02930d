"""The results of the matrix in words: rates by kind of candidate, and what went wrong one by one."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table

Result = dict[str, Any]
ORDER = ("forward", "backward", "pair", "uncovered", "without", "precision", "honest")


def group(result: Result) -> str:
    """The row: the subject where it is not a single bug, else the kind of the bug."""
    return str(result["kind"] if result["subject"] == "bug" else result["subject"])


def is_detected(r: Result) -> bool:
    return bool(r.get("detected"))


def is_located(r: Result) -> bool:
    return r.get("located") in ("exact", "span")


def is_named(r: Result) -> bool:
    """With the right name in the first place; of what has none, without any; of a pair, both."""
    wanted = "none" if group(r) in ("uncovered", "without") else "first"
    return r.get("named") == wanted and is_detected(r)


def is_near(r: Result) -> bool:
    """With the right name anywhere: first, among the causes, or among the neighbours."""
    return r.get("named") in ("first", "among", "neighbour", "none") and is_detected(r)


def is_right(r: Result) -> bool:
    if r["subject"] == "honest":
        return r.get("alarm") is False
    if r["kind"] == "precision":
        return is_detected(r)
    return is_detected(r) and is_located(r) and is_named(r)


def rate(results: Sequence[Result], test: Callable[[Result], bool]) -> str:
    hits = sum(map(test, results))
    return f"{hits}/{len(results)} {hits / len(results):.0%}"


def summary(results: Sequence[Result], title: str) -> Table:
    """A row for every kind of planted bug, level and format."""
    table = Table(title=title)
    for column in ("", "shows", "format", "detected", "located", "exactly", "named", "or near", "seconds"):
        table.add_column(column, justify="left" if column in ("", "shows", "format") else "right")
    for names, rows in _grouped(r for r in results if r["subject"] != "honest"):
        tests = (is_detected, is_located, lambda r: r.get("located") == "exact", is_named, is_near)
        table.add_row(*names, *(rate(rows, test) for test in tests), _seconds(rows))
    return table


def alarms(results: Sequence[Result], title: str) -> Table:
    """A row for every engine and format: how many honest candidates, alarms, and the largest error."""
    table = Table(title=title)
    for column in (
        "engine",
        "shows",
        "format",
        "candidates",
        "alarms",
        "largest error / threshold",
        "seconds",
    ):
        table.add_column(column, justify="left" if column in ("engine", "shows", "format") else "right")
    honest = [r for r in results if r["subject"] == "honest"]
    for names, rows in _grouped(honest, lambda r: r["name"]):
        wrong = sum(not is_right(r) for r in rows)
        worst = max((r["worst"] for r in rows if "worst" in r), default=0.0)
        table.add_row(*names, str(len(rows)), str(wrong), f"{worst:.2f}", _seconds(rows))
    return table


def _grouped(
    results: Iterable[Result], name: Callable[[Result], str] = group
) -> list[tuple[tuple[str, str, str], list[Result]]]:
    rows: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for r in results:
        rows[name(r), r["level"], r["dtype"]].append(r)
    place = {row: i for i, row in enumerate(ORDER)}
    return sorted(rows.items(), key=lambda item: (place.get(item[0][0], 99), item[0][2] != "float32"))


def _seconds(results: Sequence[Result]) -> str:
    seconds = [r["seconds"] for r in results]
    return f"{statistics.median(seconds):.1f}, at most {max(seconds):.1f}"


def failures(results: Sequence[Result]) -> Table:
    """One row for everything that is not wholly right."""
    table = Table(title="Not wholly right")
    for column in ("candidate", "shows", "format", "of", "effect / noise", "what", "said"):
        table.add_column(column)
    for r in results:
        if not is_right(r):
            effect = r.get("effect")
            shown = "" if effect is None else f"{float(effect):.3g}"
            table.add_row(r["name"], r["level"], r["dtype"], group(r), shown, _what(r), _said(r))
    return table


def _what(r: Result) -> str:
    if "error" in r:
        return "no verdict"
    if r["subject"] == "honest":
        return "false alarm"
    tests = (("not detected", is_detected), ("not located", is_located), ("not named", is_named))
    return next(what for what, test in tests if not test(r))


def _said(r: Result) -> str:
    if "error" in r:
        return str(r["error"])[:200]
    causes = ", ".join(c["mistake"] for c in r["causes"]) or "no cause"
    return f"{r['outcome']}; {r['step'] or 'no step'}; {causes}"


def split(results: Sequence[Result]) -> dict[str, list[Result]]:
    """All, and those held out."""
    return {"all": list(results), "held out": [r for r in results if r["split"] == "held out"]}


def plain(results: Sequence[Result]) -> dict[str, Any]:
    """The rates as numbers: split -> "kind, level, format" -> what was counted."""
    tests = {"detected": is_detected, "located": is_located, "named": is_named, "near": is_near}
    found: dict[str, Any] = {}
    for title, part in split(results).items():
        rows = {}
        for names, group_of in _grouped(part):
            counts = {name: sum(map(test, group_of)) for name, test in tests.items()}
            if names[0] == "honest":
                counts = {"alarms": sum(not is_right(r) for r in group_of)}
            rows[", ".join(names)] = {"candidates": len(group_of), **counts}
        found[title] = rows
    return found
