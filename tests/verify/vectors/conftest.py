"""One pack for all tests of this folder; a second process writes another one at the same time."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from vitref.verify import vectors

PROGRAM = "import sys; from vitref.verify import vectors; vectors.write(sys.argv[1])"


class Packs(NamedTuple):
    """`mine` of this process; `other` of another one, which hashes texts otherwise."""

    mine: Path
    other: Path


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    folder = tmp_path_factory.mktemp("vectors")
    both = Packs(folder / "mine", folder / "other")
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(both.other)], env=environment, cwd=folder)
    try:
        vectors.write(both.mine)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    return both


@pytest.fixture(scope="session")
def pack(packs: Packs) -> Path:
    return packs.mine
