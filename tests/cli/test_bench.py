"""`vitref bench`: what it measures, what it prints, and what it refuses."""

import argparse
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vitref.benchmark.case import Case
from vitref.benchmark.interleave import Left, Measured, Outcome
from vitref.cli import bench as command
from vitref.cli import main

SMALL = Case("ViT-Ti/16", 1, "float32", "forward")
ALONE = ["--models", SMALL.model, "--batch", "1", "--backends", "numpy", "--peers", "none", "--rounds", "2"]
ONE = [*ALONE, "--image-size", "64", "--depth", "2"]


def bench(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a run that succeeds prints."""
    code = main(["bench", *argv])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["bench", *argv]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_json_has_every_round_and_what_it_ran_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    found = json.loads(bench(capsys, *ONE, "--json", "--save", str(file)))
    assert json.loads(file.read_text(encoding="utf-8")) == found
    assert found["rounds"] == 2
    assert found["machine"]["cpus"] >= 1
    assert found["left_out"] == []
    assert [(row["candidate"], row["direction"]) for row in found["results"]] == [
        ("vitref-numpy", "forward"),
        ("vitref-numpy", "backward"),
    ]
    for row in found["results"]:
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) <= row["median"] <= max(row["seconds"])
        assert 0 < row["median"] < 60
        assert row["libraries"]["numpy"] == np.__version__
        assert any("x" in library for library in row["blas"])
    forward, backward = (row["memory"] for row in found["results"])
    if forward is not None:
        gradients = SMALL._replace(image_size=64, depth=2).config.parameters * 4 / 2**20
        assert backward > gradients > forward >= 0


def test_the_tables_are_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    printed = bench(capsys, *ONE, "--passes", "forward")
    assert "numpy" in printed
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    fields = ["model", "batch", "dtype", "pass", "image size", "depth", "backend"]
    assert (cells[0], cells[3]) == ([*fields, "ms"], [*fields, "MiB"])
    assert cells[2][:7] == ["ViT-Ti/16", "1", "float32", "forward", "64", "2", "numpy"]
    assert float(cells[2][7]) > 0
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--models", "ViT-Q/16"], "ViT-Q/16"),
        (["--models", ""], "--models"),
        (["--batch", "0"], "--batch: found 0"),
        (["--batch", "1,two"], "--batch: found two"),
        (["--image-size", "8"], "image height of 8 pixels"),
        (["--depth", "0"], "--depth: found 0"),
        (["--dtype", "float128"], "float32, float64"),
        (["--precision", "loose"], "strict, fp32x3, tf32"),
        (["--passes", "sideways"], "forward, backward"),
        (["--rounds", "0"], "--rounds: found 0"),
        (["--peers", "tensorflow"], "torch, torch-compile, torch-compile-default"),
        (["--peers", "timm"], "among torch,"),
        (["--backends", "cupy"], "among numpy, numba,"),
        (["--device", "tpu"], "among cpu, cuda,"),
        (["--save", "no/such/folder/file"], "no/such/folder/file"),
    ],
)
def test_wrong_options_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(capsys, *argv)


def test_what_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "vitref[bench]" in refusal(capsys, *ONE)
    assert "jax, jaxlib not installed" in refusal(capsys, "--backends", "numpy", "--peers", "jax")


def test_a_precision_is_that_of_float32_alone() -> None:
    args = parsed("--device", "cuda", "--models", "ViT-B/16", "--batch", "64", "--passes", "forward")
    args.dtype, args.precision = "float32,bfloat16", "tf32,fp32x3"
    found = [(case.dtype, case.precision, case.device) for case in command.chosen_cases(args)]
    assert found == [
        ("float32", "tf32", "cuda"),
        ("float32", "fp32x3", "cuda"),
        ("bfloat16", "strict", "cuda"),
    ]


def test_a_family_of_peers_is_all_its_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    modes = ["default", "reduce-overhead", "max-autotune"]
    assert command.chosen_peers(parsed("--peers", "products,torch-compile")) == [
        *(f"torch-compile-{mode}" for mode in modes),
        "products",
    ]
    assert command.chosen_peers(parsed("--peers", "timm-compile,timm", "--device", "cuda")) == [
        "timm",
        *(f"timm-compile-{mode}" for mode in modes),
    ]
    assert "products" in command.chosen_peers(parsed())


def test_a_failure_is_told_after_the_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Measured("vitref-numpy", [1.0], 1.0, {}, [])
    lefts = [Left("torch", "it broke", True), Left("jax", "too large", False)]
    monkeypatch.setattr(command, "measure", lambda *_: Outcome([own], lefts))
    assert main(["bench", *ALONE, "--passes", "forward"]) == 1
    captured = capsys.readouterr()
    assert "| ViT-Ti/16 |" in captured.out
    assert "left out: jax at ViT-Ti/16 1 float32 forward: too large" in captured.out
    assert "torch at ViT-Ti/16 1 float32 forward: it broke" in captured.err


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    return parser.parse_args(["bench", *argv])


def test_what_no_backend_computes_in_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dtype", "bfloat16", "--models", "ViT-Ti/16", "--batch", "1"]) == 1
    assert "none of the chosen backends" in capsys.readouterr().err
