"""The cells of the matrix judged one after another, in one process or several; what is done is kept."""

import importlib
import json
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from vitref.benchmark.diagnosis.cell import Cell
from vitref.benchmark.diagnosis.judge import judged, kind
from vitref.errors import ConfigError
from vitref.json_files import parse_object
from vitref.weights.files import StrPath, atomic_write

Result = dict[str, Any]
EVERY = 20.0
"""Seconds between two writings of the file."""


def sample(cells: Iterable[Cell], most: int | None) -> list[Cell]:
    """At most so many of each subject, kind, level and format; a checksum of the name decides which."""
    found = list(cells)
    if most is None:
        return found
    order = sorted(found, key=lambda cell: (zlib.crc32(f"sample {cell.name}".encode()), cell))
    count: Counter[tuple[str, ...]] = Counter()
    kept = set()
    for cell in order:
        group = (cell.subject, kind(cell), cell.level, cell.dtype)
        count[group] += 1
        if count[group] <= most:
            kept.add(cell)
    return [cell for cell in found if cell in kept]


def run(cells: Sequence[Cell], *, jobs: int, done: Callable[[Result], None]) -> list[Result]:
    """All results, in the order of the cells; `done` is told of each."""
    results = []
    for result in _results(cells, jobs):
        results.append(result)
        done(result)
    return results


def _results(cells: Sequence[Cell], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(judged, cells)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=one_thread) as pool:
        yield from pool.map(judged, cells, chunksize=8)


def one_thread() -> None:
    """In each of several processes PyTorch computes with one thread."""
    importlib.import_module("torch").set_num_threads(1)


def key(result: Result) -> tuple[Any, ...]:
    return tuple(result[name] for name in ("subject", "name", "level", "dtype", "model", "seed"))


def key_of(cell: Cell) -> tuple[Any, ...]:
    return cell.subject, cell.name, cell.level, cell.dtype, cell.place.model, cell.place.seed


def save(path: StrPath, results: Sequence[Result], about: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        rows = ",\n".join(json.dumps(_rounded(result)) for result in results)
        file.write(f'{{"about": {json.dumps(about)},\n"results": [\n{rows}\n]}}\n'.encode())


def _rounded(value: Any) -> Any:
    """Four digits are enough, and JSON knows no infinity."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1e300 else str(value)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def saved(path: StrPath) -> list[Result]:
    """The results in a file that `save` wrote; none where there is no such file."""
    if not Path(path).exists():
        return []
    results = parse_object(Path(path).read_bytes(), str(path)).get("results")
    if not isinstance(results, list):
        raise ConfigError(
            str(path),
            found="no results in it",
            expected="a file that vitref bench diagnose wrote",
            remedy="Give another --save.",
        )
    return results
