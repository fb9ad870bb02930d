"""What is shipped: the lists of pyproject.toml, the files of wheel and sdist, and a run from the wheel."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("vitref", "backends", "weights")
FOLDERS = (*SOURCES, "tests", "docs", "results", ".ci")
FILES = (
    "pyproject.toml",
    "MANIFEST.in",
    "Makefile",
    "LICENSE",
    ".gitignore",
    ".pre-commit-config.yaml",
    "*.md",
)


def setuptools_table() -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = settings["tool"]["setuptools"]
    return table


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command, which must succeed; nothing of this session's path reaches it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in: building in place would leave files, and find those of an earlier build."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    for folder in filter(lambda name: (ROOT / name).is_dir(), FOLDERS):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in FILES:
        for path in ROOT.glob(pattern):
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope="session")
def dist(checkout: Path) -> Path:
    """The folder of the sdist and of the wheel that is built from the sdist."""
    folder = checkout.parent / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout, cwd=folder.parent)
    return folder


@pytest.fixture(scope="session")
def installed(dist: Path) -> Path:
    """A folder into which the wheel is installed, without its dependencies."""
    site = dist.parent / "site"
    wheel = next(dist.glob("*.whl"))
    run(sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", site, wheel, cwd=dist)
    return site


def files_of(checkout: Path, folders: Iterable[str]) -> set[Path]:
    """Every file in these folders, relative to the checkout."""
    found = (path for folder in folders for path in (checkout / folder).rglob("*"))
    return {path.relative_to(checkout) for path in found if path.is_file()}


def package_folders(checkout: Path) -> set[Path]:
    return {path.parent for path in files_of(checkout, SOURCES) if path.suffix == ".py"}


def place(path: Path) -> Path:
    """Where a file or folder of the tree lies in the wheel: backends/ and weights/ inside vitref/."""
    return path if path.parts[0] == "vitref" else "vitref" / path


def test_no_package_is_forgotten(checkout: Path) -> None:
    found = {".".join(place(folder).parts) for folder in package_folders(checkout)}
    assert found == set(setuptools_table()["packages"])


def test_every_package_has_an_init(checkout: Path) -> None:
    folders = sorted(package_folders(checkout))
    assert [folder for folder in folders if not (checkout / folder / "__init__.py").is_file()] == []


def test_wheel_holds_exactly_the_source_folders(checkout: Path, dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        files = {Path(name) for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {place(path) for path in files_of(checkout, SOURCES)}


def test_sdist_holds_the_whole_checkout(checkout: Path, dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        files = {Path(*Path(member.name).parts[1:]) for member in sdist.getmembers() if member.isfile()}
    top = {Path(path.name) for pattern in FILES for path in checkout.glob(pattern)}
    assert (top | files_of(checkout, FOLDERS)) - files == set()


def test_version_is_that_of_the_metadata(dist: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {path.name for path in dist.iterdir()} == {
        f"vitref-{version}.tar.gz",
        f"vitref-{version}-py3-none-any.whl",
    }


@pytest.mark.parametrize("name", ["backends", "weights"])
def test_folder_is_not_importable_a_second_time_here(name: str) -> None:
    assert name not in sys.modules
    assert importlib.util.find_spec(name) is None


@pytest.mark.parametrize("name", ["backends", "weights"])
def test_folder_is_not_importable_a_second_time_from_the_wheel(name: str, installed: Path) -> None:
    code = f"import importlib.util, vitref.{name} as m; print(m.__file__, importlib.util.find_spec({name!r}))"
    said = run(sys.executable, "-c", code, cwd=installed.parent, PYTHONPATH=str(installed))
    assert said.strip() == f"{installed / 'vitref' / name / '__init__.py'} None"


def test_demo_runs_from_the_wheel_in_another_folder(installed: Path, tmp_path: Path) -> None:
    without_extras, elsewhere = tmp_path / "without_extras", tmp_path / "elsewhere"
    elsewhere.mkdir()
    without_extras.mkdir()
    hide = "import sys\nsys.modules.update(dict.fromkeys(['hypothesis', 'pytest', 'sklearn']))\n"
    (without_extras / "sitecustomize.py").write_text(hide, encoding="utf-8")
    path = os.pathsep.join([str(without_extras), str(installed)])
    assert run(installed / "bin" / "vitref", "demo", cwd=elsewhere, PYTHONPATH=path)
    assert list(elsewhere.iterdir()) == [], "the demo leaves files behind"
