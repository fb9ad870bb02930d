"""`vitref mistakes` as a user meets it."""

import json
import re
from dataclasses import replace

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
    assert "outputs   the outputs are not those of a second program" in printed
    assert "order " not in printed
    assert re.search(r"scale_missing +blocks.0.attn.scores +[1-9].[0-9]e\+00 ", printed)
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
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[2:]] == [
        "kohya-ss/musubi-tuner#176",
        "tencent-ailab/IP-Adapter#430",
    ]


def test_names_are_never_folded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["mistakes", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in mistakes.CATALOGUE)


def test_a_mistake_that_nobody_notices_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mistakes.CATALOGUE, HARMLESS.name, HARMLESS)
    monkeypatch.setitem(mistakes.FAMILIES, "wiring", (*mistakes.FAMILIES["wiring"], HARMLESS))
    assert main(["mistakes", HARMLESS.name, "scale_missing"]) == 1
    assert "Missed: harmless" in capsys.readouterr().out


def test_a_row_that_fits_no_line_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = replace(HARMLESS, name="stale", edits={"block": ("no such line -> x",)})
    monkeypatch.setitem(mistakes.CATALOGUE, stale.name, stale)
    monkeypatch.setitem(mistakes.FAMILIES, "wiring", (*mistakes.FAMILIES["wiring"], stale))
    assert main(["mistakes", stale.name]) == 1
    assert "block has 0 places that read 'no such line'" in capsys.readouterr().err


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mistakes", "bessels"]) == 1
    assert "vitref mistakes: found the unknown name 'bessels'" in (said := capsys.readouterr().err)
    assert "bessel" in said.replace("bessels", "")
    assert main(["mistakes", "missing_scale"]) == 1
    assert "scale_missing" in capsys.readouterr().err
    assert main(["mistakes", "zzz"]) == 1
    assert "such as" not in capsys.readouterr().err
