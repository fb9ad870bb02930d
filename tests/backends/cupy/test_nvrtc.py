"""Which code is compiled for which GPU, and what is kept of it; on a stand-in for the compiler."""

from pathlib import Path
from typing import Any

import pytest

from vitref.backends.cupy_runtime import nvrtc, user_cache
from vitref.errors import BackendError

pytestmark = pytest.mark.usefixtures("cache", "headers")


class Compiler:
    """What stands for `cupy.cuda.nvrtc`."""

    class NVRTCError(Exception):
        pass

    def __init__(self, sound: bool = True) -> None:
        self.sound, self.options = sound, list[tuple[str, ...]]()

    def getVersion(self) -> tuple[int, int]:
        return 13, 0

    def getSupportedArchs(self) -> tuple[int, ...]:
        return 75, 80, 86, 90, 100

    def createProgram(self, text: str, name: str, headers: Any, names: Any) -> int:
        return 1

    def compileProgram(self, program: int, options: tuple[str, ...]) -> None:
        self.options.append(options)
        if not self.sound:
            raise self.NVRTCError("no")

    def getCUBIN(self, program: int) -> bytes:
        return b"machine code"

    def getPTX(self, program: int) -> str:
        return "code for later GPUs"

    def getProgramLog(self, program: int) -> str:
        return "line 3: what?"

    def destroyProgram(self, program: int) -> None:
        pass


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvrtc, "include_folder", lambda: tmp_path)


@pytest.mark.parametrize(
    ("capability", "option", "content"),
    [
        (90, "--gpu-architecture=sm_90", b"machine code"),
        (121, "--gpu-architecture=compute_100", b"code for later GPUs"),
        (89, "--gpu-architecture=compute_86", b"code for later GPUs"),
    ],
)
def test_sources_are_compiled_once_for_each_gpu(capability: int, option: str, content: bytes) -> None:
    compiler = Compiler()
    paths = [nvrtc.compiled(compiler, "split", capability) for _ in range(2)]
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == content
    assert [options[0] for options in compiler.options] == [option]


def test_a_changed_source_is_compiled_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvrtc, "SOURCES", tmp_path)
    paths = []
    for text in ("one", "two"):
        (tmp_path / "split.cu").write_text(text)
        paths.append(nvrtc.compiled(Compiler(), "split", 90))
    assert paths[0] != paths[1]


def test_a_cache_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(user_cache.VARIABLE, str(blocked / "below"))
    assert nvrtc.compiled(Compiler(), "split", 90).read_bytes() == b"machine code"


def test_what_cannot_be_compiled_is_an_error_with_the_compilers_words() -> None:
    with pytest.raises(BackendError, match=r"line 3: what\?"):
        nvrtc.compiled(Compiler(sound=False), "split", 90)
    with pytest.raises(BackendError, match=r"capability 7\.5"):
        nvrtc.compiled(Compiler(), "split", 75)
