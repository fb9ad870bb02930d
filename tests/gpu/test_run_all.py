"""The one command for a GPU, on made-up steps: what it writes, and that nothing stops it."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.gpu import run_all
from tests.gpu.run_all import STEPS, Step

NOTE = """
import json, os
json.dump({'error': 1e-7, 'parts': {'a': 1}}, open(os.environ['VITREF_GPU_NOTES'], 'w'))
"""

CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(PATH, "w").write(str(child.pid))
child.wait()
"""

WHERE = """
import importlib.metadata, os
import vitref.backends, vitref.weights, tests.gpu.cases as cases
files = vitref.backends.__file__, cases.__file__
print(*map(os.path.realpath, files), importlib.metadata.version("vitref"))
"""


def python(name: str, code: str, seconds: int = 60, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, f"the step {name}", (sys.executable, "-P", "-c", code), seconds, needs)


def results(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / "gpu-x.json").read_text())["steps"]
    return found


def statuses(steps: list[Step], folder: Path, seconds: float = 100) -> dict[str, str]:
    done = run_all.run_all(steps, folder, "x", seconds=seconds)
    return {name: result.status for name, result in done.items()}


def test_a_step_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    steps = [
        python("one", "print('said')"),
        python("two", "raise SystemExit('wrong')"),
        python("three", NOTE),
        Step("four", "", ("no-such-program",), 60),
        python("five", "", needs=("no-such-program",)),
    ]
    expected = {"one": "passed", "two": "failed", "three": "passed", "four": "failed", "five": "left out"}
    assert statuses(steps, tmp_path) == expected
    found = results(tmp_path)
    assert found["one"]["output"] == "said\n"
    assert found["three"]["measured"] == {"error": 1e-7, "parts": {"a": 1}}
    page = (tmp_path / "gpu-x.md").read_text()
    assert "| two | the step two | failed |" in page
    assert "wrong" in page
    assert "| error | 1e-07 |" in page
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_step_is_stopped_at_its_limit_with_all_its_processes(tmp_path: Path) -> None:
    code = NOTE + CHILD.replace("PATH", repr(str(tmp_path / "child")))
    start = time.monotonic()
    assert statuses([python("one", code, seconds=6), python("two", "")], tmp_path) == {
        "one": "stopped",
        "two": "passed",
    }
    assert time.monotonic() - start < 30
    assert results(tmp_path)["one"]["measured"] == {"error": 1e-7, "parts": {"a": 1}}
    number = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{number}").exists() or "Z" in Path(f"/proc/{number}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the step's own process still runs")


def test_what_has_no_time_left_is_left_out(tmp_path: Path) -> None:
    steps = [python("one", "import time; time.sleep(2)"), python("two", "")]
    assert statuses(steps, tmp_path, seconds=6) == {"one": "passed", "two": "left out"}
    assert results(tmp_path)["two"]["output"] == "no time left"


def test_results_are_written_after_every_step(tmp_path: Path) -> None:
    look = f"print(open({str(tmp_path / 'gpu-x.json')!r}).read())"
    statuses([python("one", ""), python("two", look)], tmp_path)
    output = str(results(tmp_path)["two"]["output"])
    assert list(json.loads(output)["steps"]) == ["one"]


def test_steps_import_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    statuses([python("one", WHERE)], tmp_path)
    backends, cases, version = str(results(tmp_path)["one"]["output"]).split()
    assert Path(backends) == run_all.ROOT / "backends" / "__init__.py"
    assert Path(cases) == run_all.ROOT / "tests" / "gpu" / "cases.py"
    assert version == run_all._version()


def test_without_a_gpu_nothing_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is skipped everywhere may not look proven."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run_all.main(["--results", str(tmp_path), "--name", "x"], [python("one", "")]) == 2
    assert "BackendError: backend cupy" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITREF_GPU_STAND_IN", "1")
    steps = [python("one", "import os; assert os.environ['VITREF_GPU_QUICK'] == '1'"), python("two", "1 / 0")]
    options = ["--results", str(tmp_path), "--name", "x", "--quick"]
    assert run_all.main([*options, "--steps", "one"], steps) == 0
    assert list(results(tmp_path)) == ["one"]
    assert run_all.main(options, steps) == 1
    assert "| two | the step two | failed |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run_all.main([*options, "--steps", "three"], steps)


def test_every_step_there_is() -> None:
    """Their names differ, and their files exist."""
    assert len({step.name for step in STEPS}) == len(STEPS)
    files = [part for step in STEPS for part in step.command if part.startswith("tests/")]
    assert all((run_all.ROOT / file).is_file() for file in files)
    tested = {f"tests/gpu/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert tested - {f"tests/gpu/{Path(__file__).name}"} <= set(files)


@pytest.mark.slow
def test_the_steps_run_where_a_stand_in_is_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREF_GPU_STAND_IN", "1")
    pytest.importorskip("hypothesis")
    step = next(step for step in STEPS if step.name == "graphs")
    assert statuses([step], tmp_path) == {"graphs": "passed"}
    assert os.environ.get("VITREF_GPU_NOTES") is None
