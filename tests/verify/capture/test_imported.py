"""The user's code by its name, and what is said when it is not there or fails."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitref.errors import BackendError, ConfigError
from vitref.verify.capture import imported


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder, which is the current one, with a module in it."""
    path = tmp_path / "capture_port.py"
    path.write_text(
        "import os\n\ndef build():\n    return 7\n\nif os.environ.get('CAPTURE_FAILS'):\n    1 / 0\n"
    )
    monkeypatch.chdir(tmp_path)
    yield path
    sys.modules.pop("capture_port", None)


@pytest.mark.parametrize("name", ["capture_port:build", "capture_port.py:build", "./capture_port.py:build"])
def test_module_and_file(port: Path, name: str) -> None:
    before = list(sys.path)
    assert imported.named(name, "--torch")() == 7
    assert sys.path == before


def test_standard_module() -> None:
    assert imported.named("os.path:join", "--python")("a", "b")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("capture_port", "no MODULE:NAME"),
        ("capture_port:", "no MODULE:NAME"),
        (":build", "no MODULE:NAME"),
        ("capture_port:make", "no make in capture_port"),
        ("capture_nowhere:build", "No module named 'capture_nowhere'"),
        ("nowhere.py:build", "no file nowhere.py"),
    ],
)
def test_not_there(port: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        imported.named(name, "--torch")
    assert f"--torch {name}" in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["capture_port:build", "capture_port.py:build"])
def test_import_fails(port: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTURE_FAILS", "1")
    with pytest.raises(ConfigError) as raised:
        imported.named(name, "--torch")
    assert "ZeroDivisionError: division by zero" in str(raised.value)
    assert "capture_port.py line 7: 1 / 0" in str(raised.value)


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        imported.library("onnxruntime")


@pytest.mark.parametrize("status", ["0", "'no weights'"])
def test_a_script_that_exits_has_failed(port: Path, status: str) -> None:
    port.write_text(f"import sys\n\nsys.exit({status})\n")
    with pytest.raises(ConfigError, match="SystemExit"):
        imported.named("capture_port.py:build", "--python")
