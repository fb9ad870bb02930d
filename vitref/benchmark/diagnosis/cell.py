"""One cell of the matrix: which candidate, how much of it is shown, in which format; and all cells."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from vitref.benchmark.diagnosis import catalogue, honest, problem
from vitref.benchmark.diagnosis.answers import ANSWERS, right_names
from vitref.benchmark.diagnosis.bug import LEVELS, Bug
from vitref.config import Config

SUBJECTS = ("bug", "pair", "without", "honest")
"""A bug; a pair of bugs; a bug whose right answers are taken out of the catalogue; an honest program."""

DTYPES = ("float32", "bfloat16")
FORWARD, BACKWARD = LEVELS[:3], LEVELS[3:]


class Cell(NamedTuple):
    """name   of the bug, of two of them with " + " between, or of the engine
    place  the problem: a small model with its seed, or the checkpoint
    """

    subject: str
    name: str
    level: str
    dtype: str
    place: problem.Place

    @property
    def bugs(self) -> list[Bug]:
        return [] if self.subject == "honest" else [catalogue.BUGS[n] for n in self.name.split(" + ")]

    @property
    def is_tuning(self) -> bool:
        """Whether constants were chosen by looking at it; a pair counts as held out where one bug does."""
        if self.subject == "honest":
            return catalogue.is_tuning(f"{self.name} {self.place.model} {self.place.seed}")
        return all(catalogue.is_tuning(bug.name) for bug in self.bugs)

    @property
    def needs_gradients(self) -> bool:
        return self.level in BACKWARD


def levels_of(bug: Bug) -> tuple[str, ...]:
    """Where it can be seen: of the forward pass where it is one, else of the backward pass."""
    forward = tuple(level for level in FORWARD if level not in bug.hidden)
    return forward or tuple(level for level in BACKWARD if level not in bug.hidden)


def cells(
    *,
    subjects: Collection[str] = SUBJECTS,
    levels: Collection[str] = LEVELS,
    dtypes: Collection[str] = DTYPES,
    seeds: Collection[int] = (0,),
    checkpoint: problem.Checkpoint | None = None,
) -> Iterator[Cell]:
    """All cells, those of one problem together: what is computed once for a problem is then kept."""
    for seed in seeds if checkpoint is None else (0,):
        for model in problem.MODELS if checkpoint is None else ("checkpoint",):
            place = problem.Place(model, seed, checkpoint)
            found = [*_bugs(place, subjects), *_pairs(place, subjects), *_honest(place, subjects, dtypes)]
            yield from (cell for each in found for cell in _spread(each, levels, dtypes))


def _bugs(place: problem.Place, subjects: Collection[str]) -> Iterator[Cell]:
    for subject in ("bug", "without"):
        for bug in catalogue.BUGS.values() if subject in subjects else ():
            if fits([bug], place) and (subject == "bug" or bug.name in ANSWERS):
                yield Cell(subject, bug.name, "", "", place)


def _pairs(place: problem.Place, subjects: Collection[str]) -> Iterator[Cell]:
    for pair in catalogue.PAIRS if "pair" in subjects else ():
        if fits([catalogue.BUGS[name] for name in pair], place):
            yield Cell("pair", " + ".join(pair), "", "", place)


def _honest(place: problem.Place, subjects: Collection[str], dtypes: Collection[str]) -> Iterator[Cell]:
    for name, engine in honest.engines().items() if "honest" in subjects else ():
        if engine.is_installed and engine.takes(problem.at(place)):
            yield from (Cell("honest", name, "", dtype, place) for dtype in engine.formats)


def _spread(cell: Cell, levels: Collection[str], dtypes: Collection[str]) -> Iterator[Cell]:
    """The cell at every level and in every format at which it makes sense."""
    if cell.subject == "honest":
        backward = honest.engines()[cell.name].backward
        level = "cotangents" if backward else "taps"
        wide = cell.dtype in dtypes or (cell.dtype in ("float16", "autocast") and "bfloat16" in dtypes)
        if wide:
            yield from (cell._replace(level=each) for each in (level, "logits") if each in levels)
        return
    shown = set(levels_of(cell.bugs[0])).intersection(*(levels_of(bug) for bug in cell.bugs))
    for level in levels:
        for dtype in dtypes:
            if level in shown and _makes_sense(cell, level, dtype):
                yield cell._replace(level=level, dtype=dtype)


def _makes_sense(cell: Cell, level: str, dtype: str) -> bool:
    """A lower precision is told in float32 alone; names can be withheld where there are any."""
    if cell.subject == "without":
        return bool(right_names(cell.name, level)) and not cell.bugs[0].is_precision
    return dtype == "float32" or not any(bug.is_precision for bug in cell.bugs)


def fits(bugs: list[Bug], place: problem.Place) -> bool:
    """Whether the bugs can be planted there: in the small model of the first, or in this checkpoint."""
    if place.checkpoint is None:
        return all(bug.model == bugs[0].model for bug in bugs) and bugs[0].model == place.model
    return all(_can_have(bug, problem.at(place).config) for bug in bugs)


def _can_have(bug: Bug, config: Config) -> bool:
    return bug.needs is None or bug.needs(config)
