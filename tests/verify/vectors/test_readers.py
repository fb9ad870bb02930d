"""The readers in docs/vectors.md are compiled and run on a pack, where there is a compiler."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "vectors.md"

COMPILERS = {
    "c": ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"],
    "rust": ["rustc", "--edition", "2021", "-D", "warnings"],
}
COMPONENTS = {"c": "linear", "rust": "layer_norm"}


@pytest.fixture(scope="module", params=COMPILERS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The language, and its reader compiled."""
    language, command = request.param, COMPILERS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    folder = tmp_path_factory.mktemp(language)
    source, target = folder / f"reader.{'c' if language == 'c' else 'rs'}", folder / "reader"
    source.write_text(blocks[0])
    subprocess.run([*command, "-o", str(target), str(source)], check=True, cwd=folder)
    return language, target


def run(program: Path, pack: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, pack], check=False, capture_output=True, text=True, timeout=60)


def test_reader_passes(program: tuple[str, Path], pack: Path) -> None:
    language, path = program
    done = run(path, pack)
    found = re.fullmatch(rf"{COMPONENTS[language]}: (\d+) right, 0 wrong\n", done.stdout)
    assert found, done.stdout + done.stderr
    assert int(found[1]) >= 10
    assert done.returncode == 0


def test_reader_notices_a_wrong_number(program: tuple[str, Path], pack: Path, tmp_path: Path) -> None:
    language, path = program
    copy = shutil.copytree(pack, tmp_path / "pack")
    file = copy / "component" / f"{COMPONENTS[language]}.safetensors"
    data = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    for place in range(begin, len(data) - 8, 8):
        data[place + 5] ^= 0x08
    file.write_bytes(data)
    done = run(path, copy)
    assert "wrong: " in done.stdout
    assert done.returncode == 1


def test_reader_refuses_another_format(program: tuple[str, Path], pack: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pack, tmp_path / "pack")
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"vitref vectors 1"', '"vitref vectors 2"', 1))
    assert run(program[1], copy).returncode != 0
