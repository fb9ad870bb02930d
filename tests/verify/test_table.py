"""`noticed.txt`: every mistake, and which checks notice it; none of them knows the right code.

    suite        a property of the changed component does not hold
    outputs      a second forward pass, written otherwise, says something else
    gradients    they are not the derivatives of the outputs, by complex step
    tensors      what was loaded is not what was stored, bit for bit
    pixels       a second way from the picture to the array says something else
    recordings   timm, transformers or Google's ViT computed something else

A change that is proven equivalent changes tensors, and no result. `python -m tests.verify.test_table` in the
checkout's root writes the table anew.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.verify.test_noticing import judged
from tests.verify.test_recordings import exposed
from vitref.verify import mistakes, planted_suite
from vitref.verify.mistakes import Mistake

ALL = [pytest.param(mistake, id=name) for name, mistake in mistakes.CATALOGUE.items()]
ON_MODELS = {"outputs", "gradients", "tensors", "pixels"}

FILE = Path(__file__).parent / "noticed.txt"
HEADING, *LINES = FILE.read_text(encoding="utf-8").splitlines()
CHECKS = HEADING.split()[1:]


def checks_of(marks: list[str]) -> set[str]:
    """The checks with an x in this row."""
    assert set(marks) <= {"x", "."}
    return {check for check, mark in zip(CHECKS, marks, strict=True) if mark == "x"}


TABLE = {name: checks_of(marks) for name, *marks in map(str.split, LINES)}


def test_the_table_has_every_mistake_in_the_order_of_the_catalogue() -> None:
    assert {*CHECKS} == {"suite", *ON_MODELS, "recordings"}
    assert [line.split()[0] for line in LINES] == list(mistakes.CATALOGUE)


@pytest.mark.parametrize("mistake", ALL)
def test_something_notices_whatever_is_not_proven_equivalent(mistake: Mistake) -> None:
    expected = {"tensors"} if mistake.equivalent else TABLE[mistake.name]
    assert TABLE[mistake.name] == expected != set()


@pytest.mark.parametrize("mistake", ALL)
def test_the_models_notice_as_the_table_says(mistake: Mistake) -> None:
    assert ON_MODELS & set(judged(mistake.name).noticed) == ON_MODELS & TABLE[mistake.name]


@pytest.mark.parametrize("mistake", ALL)
def test_the_recordings_notice_as_the_table_says(mistake: Mistake) -> None:
    assert exposed(mistake.name) == ("recordings" in TABLE[mistake.name])


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ALL)
def test_the_property_suite_notices_as_the_table_says(mistake: Mistake) -> None:
    assert bool(planted_suite.broken(mistake)) == ("suite" in TABLE[mistake.name])


def lines() -> Iterator[str]:
    """The table as it should be, which takes a minute or two."""
    yield HEADING
    width = HEADING.index(CHECKS[0])
    for name, mistake in mistakes.CATALOGUE.items():
        noticed = ON_MODELS & set(judged(name).noticed)
        noticed |= {"suite"} if planted_suite.broken(mistake) else set()
        noticed |= {"recordings"} if exposed(name) else set()
        marks = "".join(f"{'x' if check in noticed else '.':{len(check) + 2}}" for check in CHECKS)
        yield f"{name:{width}}{marks}".rstrip()


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
