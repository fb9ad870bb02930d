"""`vitref mistakes` as a user meets it."""

import json

import pytest

from tests.verify.test_noticing import HARMLESS
from vitref.cli import main
from vitref.verify import mistakes


def test_table_and_details(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mistakes", "scale_missing", "key_bias_missing"]) == 0
    printed = capsys.readouterr().out
    assert "blocks.0.attn.scores" in printed
    assert "outputs, suite.oracle" in printed
    assert "-    return float(width**-0.5)\n+    return 1.0" in printed
    assert "key_bias_missing changes no output and no gradient: A bias b of the keys" in printed
    assert "1 of 2 noticed, 1 proven equivalent, 0 missed" in printed


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mistakes", "bgr", "positions_resized_by_count", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["passed"]
    bgr, resized = content["mistakes"]
    assert (bgr["planted_in"], bgr["models"]["pictures"]["first"]) == ("pixels", "image")
    assert bgr["models"]["pictures"]["output"] > 1e10
    assert "refused" in resized["noticed"]
    assert "expected" in resized["errors"]["resized"]


def test_list_plants_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mistakes", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == list(mistakes.CATALOGUE)
    assert main(["mistakes", "--list", "bgr"]) == 0
    assert "kohya-ss/musubi-tuner#176" in capsys.readouterr().out


def test_a_mistake_that_nobody_notices_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mistakes.CATALOGUE, HARMLESS.name, HARMLESS)
    monkeypatch.setitem(mistakes.FAMILIES, "wiring", (*mistakes.FAMILIES["wiring"], HARMLESS))
    assert main(["mistakes", HARMLESS.name, "scale_missing"]) == 1
    assert "Missed: harmless" in capsys.readouterr().out


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mistakes", "bessels"]) == 1
    assert "bessel" in capsys.readouterr().err
