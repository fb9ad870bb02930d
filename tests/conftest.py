"""What all tests share: Hypothesis profiles, the real checkpoint's folder, one test per module."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"vitref": "vitref", "vitref.backends": "backends", "vitref.weights": "weights"}
"""Import name of a package: its folder, relative to the root."""

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("ci")  # `pytest --hypothesis-profile=long` overrides it


def modules() -> dict[str, Path]:
    """Dotted name of every module of the project: its file. A package is named as it is imported."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test marked `modules(prefix)` once for each such module, as its arguments `module` and `path`."""
    if marker := metafunc.definition.get_closest_marker("modules"):
        chosen = {name: path for name, path in modules().items() if name.startswith(marker.args[0])}
        metafunc.parametrize(("module", "path"), list(chosen.items()), ids=list(chosen))


@pytest.fixture(scope="session")
def project() -> dict[str, Path]:
    """Dotted name of every module of the project: its file."""
    return modules()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of a real pretrained checkpoint with its recorded answers; skips where there is none."""
    data = os.environ.get("VITREF_TEST_DATA")
    if not data:
        pytest.skip("VITREF_TEST_DATA does not name a folder of real checkpoints")
    folder = Path(data) / "vit_tiny_patch16_224_augreg_in1k"
    if not folder.is_dir():
        pytest.skip(f"VITREF_TEST_DATA has no folder {folder.name}")
    return folder
