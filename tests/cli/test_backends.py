"""`vitref backends`: what it says of backends that can be used, and of those that cannot."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from vitref import backends
from vitref.backends.interface import Backend
from vitref.cli import main

REASON = "backend cupy: found [no] driver; expected one. Install it."

DEVICE = replace(
    backends.get("numpy"),
    name="torch",
    dtypes=("float32", "bfloat16"),
    precision=("strict", "tf32"),
    kernels={"softmax": SimpleNamespace(), "gelu": SimpleNamespace()},
    versions={"torch": "2.9[cu130]", "device": "cuda:0, NVIDIA H200"},
)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference, one on a device, and one that is unavailable."""

    def get(name: str) -> Backend:
        return {"numpy": backends.get("numpy"), "torch": DEVICE}[name]

    known = {"numpy": None, "torch": None, "cupy": REASON}
    monkeypatch.setattr("vitref.cli.backends.backends", SimpleNamespace(available=lambda: known, get=get))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["backends", *argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.usefixtures("three")
def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    heading, numpy, torch, cupy, *rest = printed(capsys).splitlines()
    assert heading.split() == ["backend", "available", "device", "dtypes", "precision", "kernels", "versions"]
    assert numpy.split()[:3] == ["numpy", "yes", "cpu"]
    for fact in (
        "cuda:0, NVIDIA H200",
        "float32, bfloat16",
        "strict, tf32",
        "gelu, softmax",
        "torch 2.9[cu130]",
    ):
        assert fact in torch
    assert torch.startswith("torch    yes")
    assert cupy.split() == ["cupy", "no"]
    assert rest == ["", REASON]


@pytest.mark.usefixtures("three")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(printed(capsys, "--json"))
    assert list(found) == ["numpy", "torch", "cupy"]
    assert found["cupy"] == {"available": False, "reason": REASON}
    assert found["torch"] == {
        "available": True,
        "device": "cuda:0, NVIDIA H200",
        "dtypes": ["float32", "bfloat16"],
        "precision": ["strict", "tf32"],
        "kernels": ["gelu", "softmax"],
        "versions": {"torch": "2.9[cu130]"},
    }


def test_those_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "--json"))
    assert {name: known.get("reason") for name, known in found.items()} == backends.available()
    assert list(found)[: len(backends.MODULES)] == list(backends.MODULES)
    for name, reason in backends.available().items():
        assert (reason or name) in printed(capsys)
