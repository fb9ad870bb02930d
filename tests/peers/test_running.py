"""When a test of peers is skipped: when a whole library is missing, and for no other failure."""

from pathlib import Path

import pytest

from tests.peers import running

TRACE = 'Traceback (most recent call last):\n  File "record.py", line 3, in <module>\n    import it\n'


def ended(message: str) -> str:
    return f"{TRACE}{message}\n"


@pytest.mark.parametrize("library", running.LIBRARIES)
def test_a_missing_library(library: str) -> None:
    message = f"No module named '{library}'"
    assert running.missing_library(ended(f"ModuleNotFoundError: {message}")) == message


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        ended("ModuleNotFoundError: No module named 'numpy'"),
        ended("ModuleNotFoundError: No module named 'tests.fixtures.make.record_tim'"),
        ended("ModuleNotFoundError: No module named 'timm.layers.gone'"),
        ended("ModuleNotFoundError: No module named 'torchaudio'"),
        ended("ModuleNotFoundError: No module named 'torch'; 'torch' is not a package"),
        ended("ImportError: No module named 'torch'"),
        ended("ModuleNotFoundError: No module named 'jax'")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + ended("ValueError: No module named 'jax'"),
        "ModuleNotFoundError: No module named 'jax'\n" + ended("AssertionError"),
    ],
)
def test_any_other_failure(stderr: str) -> None:
    assert running.missing_library(stderr) == ""


def test_a_script_that_fails_is_no_skip(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no_such_script"):
        running.run("no_such_script", tmp_path)
