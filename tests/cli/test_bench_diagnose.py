"""`vitref bench diagnose`: the list, what is refused, and a small run with its file."""

import json
from pathlib import Path

import pytest

from vitref.benchmark.diagnosis import catalogue
from vitref.cli import main


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "diagnose", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(catalogue.BUGS)
    assert {row["split"] for row in rows} == {"tuning", "held out"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "no_such_bug"], "--only: found no_such_bug"),
        (["--levels", "taps,all"], "--levels: found all"),
        (["--dtypes", "int8"], "--dtypes: found int8"),
        (["--split", "test"], "--split: found test"),
        (["--seeds", "one"], "--seeds: found one"),
        (["--jobs", "0"], "--jobs: found 0"),
        (["--limit", "0"], "--limit: found 0"),
        (["--weights", "model.safetensors"], "weights without a picture"),
    ],
)
def test_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["bench", "diagnose", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert main(["bench", "diagnose", "--only", "tanh_form"]) == 1
    assert "pip install torch" in capsys.readouterr().err


def test_a_run_is_kept_and_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "results.json"
    command = ["bench", "diagnose", "--only", "tanh_form", "--dtypes", "float32", "--save", str(path)]
    assert main([*command, "--subjects", "bug", "--levels", "taps", "--json"]) == 0
    rates = json.loads(capsys.readouterr().out)["rates"]["all"]
    assert rates["forward, taps, float32"]["candidates"] == 1
    kept = json.loads(path.read_text())["results"]
    assert [result["name"] for result in kept] == ["tanh_form"]
    assert main([*command, "--subjects", "bug", "--levels", "taps,logits"]) == 0
    assert "tanh_form" in path.read_text()
    assert json.loads(path.read_text())["results"][0] == kept[0]
