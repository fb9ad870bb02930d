"""`vitref bench`: what it measures, what it prints, and what it refuses."""

import importlib.util
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import vitref
from vitref.benchmark import candidates, interleave, report
from vitref.benchmark.case import DTYPES, PASSES, Case, problem
from vitref.benchmark.interleave import Measured
from vitref.cli import main

SMALL = Case("ViT-Ti/16", 1, "float32", "forward")
ONE = ["--models", SMALL.model, "--batch", "1", "--dtype", "float32", "--peers", "none", "--rounds", "2"]


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


def test_json_has_every_round_and_what_it_ran_on(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(bench(capsys, *ONE, "--json"))
    assert found["rounds"] == 2
    assert found["machine"]["cpus"] >= 1
    assert [(row["candidate"], row["direction"]) for row in found["results"]] == [
        ("vitref", "forward"),
        ("vitref", "backward"),
    ]
    for row in found["results"]:
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) <= row["median"] <= max(row["seconds"])
        assert 0 < row["median"] < 60
        assert row["libraries"]["numpy"] == np.__version__
        assert any("x" in library for library in row["blas"])
    forward, backward = (row["memory"] for row in found["results"])
    if forward is not None:
        gradients = vitref.Config.variant(SMALL.model, convention="timm").parameters * 4 / 2**20
        assert backward > gradients > forward > 0


def test_the_table_is_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    printed = bench(capsys, *ONE, "--passes", "forward")
    assert "numpy" in printed
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["model", "batch", "dtype", "pass", "ms", "MiB"]
    assert cells[2][:4] == ["ViT-Ti/16", "1", "float32", "forward"]
    assert float(cells[2][4]) > 0
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--models", "ViT-Q/16"], "ViT-Q/16"),
        (["--models", ""], "--models"),
        (["--batch", "0"], "--batch: found 0"),
        (["--batch", "1,two"], "--batch: found two"),
        (["--dtype", "float16"], "float32, float64"),
        (["--passes", "sideways"], "forward, backward"),
        (["--rounds", "0"], "--rounds: found 0"),
        (["--peers", "tensorflow"], "torch, jax, onnxruntime"),
    ],
)
def test_wrong_options_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(capsys, *argv)


def test_what_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "vitref[bench]" in refusal(capsys, *ONE)
    assert "jax, jaxlib not installed" in refusal(capsys, "--peers", "jax")


def test_the_environment_of_a_child_pins_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    found = interleave.environment()
    assert "OPENBLAS_CORETYPE" not in found
    assert found["OPENBLAS_NUM_THREADS"] == "1"


def test_progress_counts_every_step_of_every_candidate() -> None:
    steps: list[None] = []
    (measured,) = interleave.measure(SMALL, ["vitref"], 2, lambda: steps.append(None))
    assert len(steps) == 3
    assert len(measured.seconds) == 2


def test_a_child_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(vitref.BackendError) as caught:
        interleave.measure(SMALL._replace(model="ViT-Q/16"), ["vitref"], 1)
    assert "benchmark of vitref" in caught.value.where
    assert "ViT-Q/16" in caught.value.found


@pytest.mark.parametrize("wrong", [[1.0, 2.001], [1.0, float("nan")], [1.0]])
def test_candidates_that_disagree_are_refused(wrong: list[float]) -> None:
    interleave.agree(SMALL, "vitref", [1.0, 2.0], "torch", [1.0, 2.00001])
    with pytest.raises(vitref.BackendError, match="torch"):
        interleave.agree(SMALL, "vitref", [1.0, 2.0], "torch", wrong)


def test_the_problem_is_random_truncated_and_the_same_in_both_dtypes() -> None:
    single, double = (problem(SMALL._replace(dtype=dtype)) for dtype in DTYPES)
    assert list(single.tensors) == list(single.config.parameter_shapes())
    for name, array in single.tensors.items():
        assert np.array_equal(array, double.tensors[name])
        assert (array.dtype.name, double.tensors[name].dtype.name) == ("float32", "float64")
        spread = array - 1 if "norm" in name and name.endswith("weight") else array
        assert np.abs(spread).max() <= 0.0401
        assert spread.std() > 0.01
    assert single.image.std() == pytest.approx(1, abs=0.01)


def test_ratios_are_vitref_divided_by_the_peer() -> None:
    own = Measured("vitref", [3.0, 1.0, 2.0], 300.0, {}, [])
    torch = Measured("torch", [4.0, 4.0, 8.0], 100.0, {}, [])
    jax = Measured("jax", [0.5], None, {}, [])
    results = {SMALL: [own, torch, jax], SMALL._replace(batch=8): [own, jax]}
    console = Console(width=200)
    with console.capture() as captured:
        console.print(report.table(results))
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in captured.get().splitlines()
        if line.strip().startswith("|")
    ]
    assert rows[0][4:] == ["ms", "MiB", "time / torch", "memory / torch", "time / jax", "memory / jax"]
    assert rows[2][4:] == ["2000", "300", "0.50", "3.00", "4.00", ""]
    assert rows[3][4:] == ["2000", "300", "", "", "4.00", ""]


@pytest.mark.peers
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peer", candidates.PEERS)
def test_peers_compute_the_same(peer: str, dtype: str, direction: str) -> None:
    case = Case("ViT-Ti/16", 2, dtype, direction)
    candidate = candidates.CANDIDATES[peer]
    if missing := candidate.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not candidate.runs(case):
        pytest.skip(f"{peer} has no {dtype} {direction} pass here: it runs exported float32 inference alone")
    measured: Any = interleave.measure(case, ["vitref", peer], 1)
    assert [m.candidate for m in measured] == ["vitref", peer]
