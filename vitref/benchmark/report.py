"""The result of a benchmark: the machine it ran on, and medians and ratios as a table."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from vitref.benchmark.case import Case
from vitref.benchmark.interleave import Measured

Results = Mapping[Case, Sequence[Measured]]
"""For each case the candidates that ran, vitref first."""


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
    """Candidate -> its versions and its linear algebra libraries."""
    return {
        m.candidate: ", ".join([*(f"{name} {v}" for name, v in m.libraries.items()), *m.blas])
        for measured in results.values()
        for m in measured
    }


def table(results: Results) -> Table:
    """Markdown: one row per case; for each peer, vitref's time and memory divided by the peer's."""
    peers = dict.fromkeys(m.candidate for measured in results.values() for m in measured[1:])
    found = Table(box=box.MARKDOWN)
    for heading in ("model", "batch", "dtype", "pass"):
        found.add_column(heading)
    headings = ["ms", "MiB", *(f"{what} / {peer}" for peer in peers for what in ("time", "memory"))]
    for heading in headings:
        found.add_column(heading, justify="right")
    for case, (own, *others) in results.items():
        by_name = {m.candidate: m for m in others}
        ratios = [cell for peer in peers for cell in _ratios(own, by_name.get(peer))]
        found.add_row(*map(str, case), _milliseconds(own.median), _memory(own.memory), *ratios)
    return found


def _ratios(own: Measured, peer: Measured | None) -> tuple[str, str]:
    if peer is None:
        return "", ""
    memory = f"{own.memory / peer.memory:.2f}" if own.memory and peer.memory else ""
    return f"{own.median / peer.median:.2f}", memory


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.{0 if seconds >= 0.1 else 1}f}"


def _memory(mebibytes: float | None) -> str:
    return "" if mebibytes is None else f"{mebibytes:.0f}"


def plain(results: Results, about: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Everything, as plain values for JSON."""
    rows = [{**case._asdict(), "median": m.median, **m._asdict()} for case, ms in results.items() for m in ms]
    return {"machine": dict(about), "rounds": rounds, "results": rows}
