"""A progress bar on standard error: shown in a terminal, silent anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vitref.training.fit import Report


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """A function to be called after every update; see `fit.Report`."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def report(done: int, steps: int, loss: float) -> None:
            progress.update(task, completed=done, total=steps, description=f"{title}, loss {loss:.3f}")

        yield report
