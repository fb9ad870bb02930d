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

LIBRARIES = ("torch", "timm", "torchvision", "transformers", "jax", "flax", "vit_jax")
"""What may be missing."""

MISSING = re.compile(rf"ModuleNotFoundError: (No module named '(?:{'|'.join(LIBRARIES)})')")


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
    if done.returncode and (missing := missing_library(done.stderr)):
        pytest.skip(f"{missing} (see tests/fixtures/README.md)")
    assert done.returncode == 0, done.stderr
    return folder


def missing_library(stderr: str) -> str:
    """What ended the script, if that was that a whole library is missing; else ""."""
    found = MISSING.fullmatch(stderr.rstrip().rpartition("\n")[2])
    return found[1] if found else ""
