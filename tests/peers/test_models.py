"""The recordings made anew by the libraries that are installed: against the recorded ones, and vitref."""

from pathlib import Path

import pytest

from tests.fixtures import agreement
from tests.peers.running import ROOT, run
from tests.test_fixtures import BOUND, CASES, FIXTURES

pytestmark = [pytest.mark.peers, pytest.mark.slow]

LIBRARIES = ("timm", "huggingface", "google")


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(library: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Case -> its folder, as the library makes it now."""
    folder = run(f"record_{library}", tmp_path_factory.mktemp(library))
    return {path.name: path for path in folder.iterdir()}


def test_cases_are_those_recorded(library: str, made: dict[str, Path]) -> None:
    assert sorted(made) == [name for name in CASES if name.startswith(library)]


def test_agrees_with_the_recording(made: dict[str, Path]) -> None:
    """Also the inputs, of which a new version of a library might draw others."""
    for name, folder in made.items():
        (_, now), (_, recorded) = agreement.read(folder), agreement.read(FIXTURES / name)
        assert above(agreement.errors(now, recorded)) == {}
        assert all((now[key] == recorded[key]).all() for key in now if key.startswith("input."))
        assert now.keys() == recorded.keys()


def test_agrees_with_vitref(made: dict[str, Path]) -> None:
    for folder in made.values():
        assert above(agreement.errors(agreement.found(folder), agreement.read(folder)[1])) == {}


def above(errors: dict[str, float]) -> dict[str, float]:
    return {key: error for key, error in errors.items() if not error < BOUND}


def test_every_script_is_run() -> None:
    scripts = {path.stem for path in (ROOT / "tests/fixtures/make").glob("record_*.py")}
    assert scripts == {f"record_{library}" for library in LIBRARIES}
