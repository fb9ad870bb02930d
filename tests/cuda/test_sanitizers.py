"""No kernel reads or writes outside its arrays, or does what C++ leaves undefined, whatever the sizes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cuda.exercises import EXERCISES

ROOT = Path(__file__).parents[2]


def sanitized(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`tests.cuda.sanitized` in a process of its own, with the sanitizer's library in front."""
    found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.cuda.sanitized", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT.anchor)


def test_nothing_is_out_of_bounds_or_undefined() -> None:
    done = sanitized(*EXERCISES)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == [word for source in EXERCISES for word in (f"{source}:", "clean")]


def test_a_planted_mistake_is_found() -> None:
    done = sanitized("--plant")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
