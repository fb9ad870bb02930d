"""The pack as a whole: what is in it, that it is the same every time, and where it may be written."""

import argparse
import json
import pkgutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import vitref
from tests.verify.vectors.conftest import Packs
from tests.verify.vectors.reader import Read, manifest, vectors
from vitref import components
from vitref.cli import vectors as command
from vitref.verify.mistakes import CATALOGUE
from vitref.verify.vectors import pack as packing
from vitref.verify.vectors.tolerances import rounded_up
from vitref.verify.vectors.vector import Group

DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32, "float64": np.float64}


def every(pack: Path) -> list[Read]:
    return list(vectors(pack, lambda group: True))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_processes_write_the_same_bytes(packs: Packs) -> None:
    mine, other = files(packs.mine), files(packs.other)
    assert list(mine) == list(other)
    assert [name for name in mine if mine[name] != other[name]] == []


def test_pack_is_small(pack: Path) -> None:
    assert sum(len(data) for data in files(pack).values()) < 5e6


def test_manifest_names_every_file(pack: Path) -> None:
    groups = manifest(pack)["groups"]
    assert {group["file"] for group in groups} | {"manifest.json"} == set(files(pack))
    assert all(group["bytes"] == len(files(pack)[group["file"]]) for group in groups)


def test_every_component_is_there_with_every_result(pack: Path) -> None:
    groups = [group for group in manifest(pack)["groups"] if group["kind"] == "component"]
    assert {g["group"] for g in groups} == {m.name for m in pkgutil.iter_modules(components.__path__)}
    for group in groups:
        results = {vector["result"] for vector in group["vectors"]}
        unrefusing = group["group"] in ("identity", "tanh")
        assert results == {"valid", "boundary"} | (set() if unrefusing else {"rejected"}), group["group"]
        assert {"forward", "backward", "shapes", "source"} <= set(group)


def test_every_known_mistake_is_exposed_and_explained(pack: Path) -> None:
    content = manifest(pack)
    assert set(content["flags"]) | set(content["unflagged"]) == set(CATALOGUE)
    assert len(content["unflagged"]) < 0.1 * len(CATALOGUE)
    flagged = {flag for vector in every(pack) for flag in vector.flags}
    assert flagged == set(content["flags"])
    assert all(flag["what"] for flag in content["flags"].values())


def test_inputs_are_exact_in_the_precisions_that_have_a_tolerance(pack: Path) -> None:
    for vector in every(pack):
        for precision in next(iter(vector.tolerances.values()), {}):
            for array in vector.inputs.values():
                if array.dtype.kind == "f":
                    rounded = array.astype(DTYPES[precision]).astype(np.float64)
                    assert np.array_equal(rounded, array), (vector.id, precision)


def test_components_have_vectors_for_every_precision(pack: Path) -> None:
    for group in manifest(pack)["groups"]:
        if group["kind"] == "component":
            seen = {
                p for v in group["vectors"] for o in v.get("outputs", {}).values() for p in o["tolerance"]
            }
            assert seen == set(DTYPES), group["group"]


def test_tolerances_are_no_smaller_in_coarser_precisions_and_finite(pack: Path) -> None:
    order = ("float64", "float32", "float16", "bfloat16")
    for vector in every(pack):
        assert set(vector.tolerances) == set(vector.expected)
        for allowed in vector.tolerances.values():
            bounds = [allowed[precision] for precision in order if precision in allowed]
            assert bounds == sorted(bounds)
            assert all(np.isfinite(bounds))


def test_expected_numbers_are_finite(pack: Path) -> None:
    assert all(np.all(np.isfinite(a)) for vector in every(pack) for a in vector.expected.values())


def test_rejected_vectors_have_no_results(pack: Path) -> None:
    rejected = [vector for vector in every(pack) if vector.result == "rejected"]
    assert len(rejected) > 100
    assert all(vector.note and not vector.expected and not vector.flags for vector in rejected)


def test_ids_are_unique(pack: Path) -> None:
    ids = [vector.id for vector in every(pack)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (1.0, 1.0), (1.01, 1.1), (1.1, 1.1), (2.31e-7, 2.4e-7), (9.91, 10.0)]
)
def test_tolerances_are_rounded_up(value: float, expected: float) -> None:
    assert rounded_up(value) == expected


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of one group, to be written quickly."""
    group = Group("component", "add", {"what": "Addition.", "source": "none"}, ())
    monkeypatch.setattr(packing, "groups", lambda: iter([group]))


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["vectors", *words])
    code: int = args.run(args)
    return code


@pytest.mark.usefixtures("small")
def test_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", str(tmp_path / "a")) == 0
    assert capsys.readouterr().out.startswith(
        f"{tmp_path / 'a'}: vitref vectors 1, 0.0 MiB\ngroups    1 comp"
    )
    assert run("--out", str(tmp_path / "b"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"] == {"component": 1}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.usefixtures("small")
def test_older_pack_is_replaced_by_force_alone(tmp_path: Path) -> None:
    packing.write(tmp_path / "pack")
    with pytest.raises(vitref.CheckpointError, match="--force"):
        packing.write(tmp_path / "pack")
    text = (tmp_path / "pack" / "manifest.json").read_text()
    (tmp_path / "pack" / "manifest.json").write_text(text.replace("vectors 1", "vectors 0"))
    packing.write(tmp_path / "pack", force=True)
    assert (tmp_path / "pack" / "manifest.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


@pytest.mark.usefixtures("small")
def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    packing.write(tmp_path / "pack")
    assert (tmp_path / "pack" / "manifest.json").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "component/notes.txt", "file"])
def test_anything_else_is_left_alone(tmp_path: Path, name: str, force: bool) -> None:
    target = tmp_path / "pack"
    if name == "file":
        target.write_text("mine")
    else:
        packing.write(target)
        (target / name).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(vitref.CheckpointError, match="Choose another folder"):
        packing.write(target, force=force)
    assert files(tmp_path) == before


@pytest.mark.usefixtures("small")
def test_missing_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vitref.CheckpointError, match="cannot be written"):
        packing.write(tmp_path / "none" / "pack")


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise MemoryError

    monkeypatch.setattr(packing, "groups", failing)
    with pytest.raises(MemoryError):
        packing.write(tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []
