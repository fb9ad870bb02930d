"""Runs a recording script with the Python that has the other libraries.

VITREF_PEERS_PYTHON  that interpreter; without it, the one that runs the tests
VITREF_PEERS_PATH    its PYTHONPATH: a clone of vision_transformer, a torchvision apart from the rest
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MISSING = re.compile(r"^ModuleNotFoundError: (No module named '.*')$", re.MULTILINE)


def run(script: str, folder: Path, cases: Iterable[str] = ()) -> Path:
    """`folder`, filled by tests/fixtures/make/SCRIPT.py with these cases, or all.

    Skips where a library that the script needs is missing.
    """
    python = os.environ.get("VITREF_PEERS_PYTHON", sys.executable)
    path = os.environ.get("VITREF_PEERS_PATH", "")
    done = subprocess.run(
        [python, "-m", f"tests.fixtures.make.{script}", str(folder), *cases],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode and (missing := MISSING.findall(done.stderr)):
        pytest.skip(f"{missing[-1]} (see tests/fixtures/README.md)")
    assert done.returncode == 0, done.stderr
    return folder
