"""Which cells there are, a sample of them, and the file of results."""

from pathlib import Path

import pytest

from vitref.benchmark.diagnosis import catalogue, cell, matrix, problem, tables
from vitref.benchmark.diagnosis.judge import kind
from vitref.errors import ConfigError

PLACE = problem.Place("token")


def test_forward_bugs_show_activations_and_backward_bugs_gradients() -> None:
    found = list(cell.cells(subjects=["bug"], dtypes=["float32"]))
    levels = {name: {c.level for c in found if c.name == name} for name in ("tanh_form", "softmax_sum")}
    assert levels == {
        "tanh_form": {"taps", "blocks", "logits"},
        "softmax_sum": {"cotangents", "gradients"},
    }


def test_hidden_levels_are_left_out() -> None:
    found = cell.cells(subjects=["bug"], dtypes=["bfloat16"])
    assert {c.level for c in found if c.name == "key_bias_dropped"} == {"taps"}


def test_a_bug_lives_in_its_own_model() -> None:
    assert cell.fits([catalogue.BUGS["erf_form"]], problem.Place("mean"))
    assert not cell.fits([catalogue.BUGS["erf_form"]], PLACE)


def test_a_sample_takes_some_of_each() -> None:
    found = list(cell.cells(subjects=["bug"], levels=["taps", "logits"], dtypes=["float32"]))
    few = matrix.sample(found, 2)
    kinds = {(kind(c), c.level) for c in found}
    assert len(few) <= 2 * len(kinds)
    assert {(kind(c), c.level) for c in few} == kinds
    assert matrix.sample(found, 2) == few


def test_results_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert matrix.saved(path) == []
    result = {"subject": "bug", "name": "a", "effect": float("inf"), "seconds": 1.23456789, "causes": []}
    matrix.save(path, [result], {"vitref": "1"})
    assert matrix.saved(path) == [{**result, "effect": "inf", "seconds": 1.235}]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="no results"):
        matrix.saved(path)


def result(**changes: object) -> matrix.Result:
    plain = {
        "subject": "bug",
        "name": "a",
        "kind": "forward",
        "level": "taps",
        "dtype": "float32",
        "split": "tuning",
        "effect": 10.0,
        "detected": True,
        "located": "exact",
        "named": "first",
        "seconds": 1.0,
        "outcome": "differ",
        "step": "norm",
        "causes": [],
    }
    return {**plain, **changes}


def test_rates() -> None:
    rows = [result(), result(named="neighbour"), result(detected=False, split="held out")]
    rates = tables.plain(rows)["all"]["forward, taps, float32"]
    assert rates == {"candidates": 3, "detected": 2, "located": 3, "named": 1, "near": 2}
    assert list(tables.plain(rows)["held out"]) == ["forward, taps, float32"]


def test_what_is_right() -> None:
    assert tables.is_right(result())
    assert not tables.is_right(result(located="wide"))
    assert not tables.is_right(result(kind="uncovered"))
    assert tables.is_right(result(kind="uncovered", named="none"))
    assert tables.is_right(result(subject="honest", alarm=False))
    assert not tables.is_right(result(subject="honest", error="crash"))
    assert tables.failures([result(), result(named="")]).row_count == 1
