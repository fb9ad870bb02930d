"""What the tests on a GPU share: the backend, whether to be quick, and a place for what they measure.

With VITREF_GPU_STAND_IN=1 they run on the CPU, quickly, to see that the tests themselves are sound.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vitref import backends
from vitref.backends.interface import Backend
from vitref.errors import BackendError

STAND_IN, QUICK, NOTES = "VITREF_GPU_STAND_IN", "VITREF_GPU_QUICK", "VITREF_GPU_NOTES"
"""Environment variables; NOTES names the file for what is measured."""

Note = Callable[[str, Any], None]


@pytest.fixture(scope="session")
def stand_in() -> bool:
    return os.environ.get(STAND_IN) == "1"


@pytest.fixture(scope="session")
def quick(stand_in: bool) -> bool:
    """Whether to take small sizes and few repetitions."""
    return stand_in or os.environ.get(QUICK) == "1"


@pytest.fixture(scope="session")
def backend(stand_in: bool) -> Iterator[Backend]:
    if stand_in:
        from tests.cuda.stand_in import stand_in as made_up

        with made_up() as made:
            yield made
        return
    try:
        yield backends.get("cupy")
    except BackendError as error:
        if NOTES in os.environ:  # `run_all.py` asks: what is skipped there would pass for proven
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def note() -> Note:
    """note(name, value): `value`, plain, into the results, at once."""
    notes: dict[str, Any] = {}
    path = os.environ.get(NOTES)

    def take(name: str, value: Any) -> None:
        notes[name] = value
        if path:
            Path(path).write_text(json.dumps(notes), encoding="utf-8")

    return take
