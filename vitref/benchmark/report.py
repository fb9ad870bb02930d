"""The result of a benchmark: the machine it ran on, and medians and ratios as tables."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from vitref.benchmark.candidates import BACKENDS, FLOORS, family, own_name
from vitref.benchmark.case import Case
from vitref.benchmark.interleave import Measured, Outcome

Results = Mapping[Case, Outcome]

OWN = tuple(map(own_name, BACKENDS))
OWN_PREFIX = own_name("")


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the libraries."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def libraries(results: Results) -> dict[str, str]:
    """Candidate -> its versions, its linear algebra libraries, and its device."""
    return {
        m.candidate: ", ".join(
            [*(f"{name} {v}" for name, v in m.libraries.items()), *m.blas, *filter(None, [m.device])]
        )
        for outcome in results.values()
        for m in outcome.measured
    }


class Row(NamedTuple):
    """One backend of vitref at one case; `others`: family -> the quickest of it, floors included."""

    case: Case
    own: Measured
    others: Mapping[str, Measured]

    @property
    def best(self) -> Measured | None:
        """The quickest peer."""
        peers = [m for m in self.others.values() if m.candidate not in FLOORS]
        return min(peers, key=lambda m: m.median, default=None)


def rows(results: Results) -> list[Row]:
    found = []
    for case, (measured, _) in results.items():
        others: dict[str, Measured] = {}
        for m in measured:
            name = family(m.candidate)
            if m.candidate not in OWN and (name not in others or m.median < others[name].median):
                others[name] = m
        found += [Row(case, m, others) for m in measured if m.candidate in OWN]
    return found


def times(results: Results) -> Table:
    """Markdown: medians, and vitref's divided by those of the best peer and of each."""
    return _table(rows(results), "ms", lambda m: _milliseconds(m.median), lambda m: m.median)


def memory(results: Results) -> Table:
    """Markdown: peak memory likewise; the best peer is the quickest one."""
    listed = [
        row._replace(others={name: m for name, m in row.others.items() if name not in FLOORS})
        for row in rows(results)
    ]
    return _table(listed, "MiB", lambda m: _mebibytes(m.memory), lambda m: m.memory)


def _table(
    listed: Sequence[Row],
    unit: str,
    show: Callable[[Measured], str],
    size: Callable[[Measured], float | None],
) -> Table:
    found, families = (
        Table(box=box.MARKDOWN),
        list(dict.fromkeys(name for row in listed for name in row.others)),
    )
    fields = _shown([row.case for row in listed])
    for heading in (*("pass" if name == "direction" else name for name in fields), "backend"):
        found.add_column(heading.replace("_", " "))
    for heading in (unit, *(["/ best"] if families else []), *(f"/ {name}" for name in families)):
        found.add_column(heading, justify="right")
    for row in listed:
        own = size(row.own)
        cells = [_ratio(own, row.best, size, whole_name=True)] if families else []
        cells += [_ratio(own, row.others.get(name), size) for name in families]
        values = [str(getattr(row.case, name)) for name in fields]
        found.add_row(*values, row.own.candidate.removeprefix(OWN_PREFIX), show(row.own), *cells)
    return found


def _shown(cases: Sequence[Case]) -> list[str]:
    """The fields of a case that stand in a table: those in which the cases differ, or are unusual, too."""
    usual = Case._field_defaults
    return [
        name
        for name in Case._fields
        if name not in usual or any(getattr(case, name) != usual[name] for case in cases)
    ]


def _ratio(
    own: float | None,
    other: Measured | None,
    size: Callable[[Measured], float | None],
    whole_name: bool = False,
) -> str:
    """With the name of the other, or of its mode, where it has a name besides that of the column."""
    theirs = size(other) if other else None
    if other is None or not own or not theirs:
        return ""
    name = other.candidate
    note = name if whole_name else name.removeprefix(family(name)).removeprefix("-")
    return f"{own / theirs:.2f}" + (f" ({note})" if note else "")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.{0 if seconds >= 0.1 else 1 if seconds >= 0.01 else 2}f}"


def _mebibytes(memory: float | None) -> str:
    return "" if memory is None else f"{memory:.0f}"


def left_out(results: Results, failed: bool | None = None) -> list[str]:
    """A line for each candidate that could not be measured at a case: all, or those that failed or not."""
    return [
        f"{left.candidate} at {' '.join(map(str, describe(case)))}: {left.reason}"
        for case, outcome in results.items()
        for left in outcome.left
        if failed is None or left.failed == failed
    ]


def describe(case: Case) -> list[str]:
    """The fields of a case that are not the usual ones."""
    usual = Case._field_defaults
    return [str(v) for name, v in case._asdict().items() if name not in usual or v != usual[name]]


def plain(results: Results, about: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Everything, as plain values for JSON."""
    return {
        "machine": dict(about),
        "rounds": rounds,
        "results": [
            {**case._asdict(), "median": m.median, **m._asdict()}
            for case, outcome in results.items()
            for m in outcome.measured
        ],
        "left_out": [
            {**case._asdict(), **left._asdict()} for case, outcome in results.items() for left in outcome.left
        ],
    }
