"""Every CUDA kernel compiles for every architecture, and spills no more registers than was recorded."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cuda.compile import SOURCES, Resources, budget, compilers, over_budget, reported, resources
from tests.cuda.conftest import REQUIRED
from tests.cuda.host import compiled
from tests.cuda.nvrtc import CompileError, Nvrtc, library_file

WHEELS = "cuda-toolkit[cccl,crt,cudart,nvrtc]==13.0.*"

LOG = """ptxas info    : Compiling entry function 'one' for 'sm_90a'
ptxas info    : Function properties for one
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 256 bytes smem
ptxas info    : Compiling entry function 'two' for 'sm_90a'
ptxas info    : Function properties for two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 20 registers, used 0 barriers
"""


def host_kernels(source: str) -> set[str]:
    """The kernels that the host build of a source offers."""
    done = subprocess.run(["nm", "-D", str(compiled(source))], capture_output=True, text=True, check=True)
    return set(re.findall(r" T host_(\w+)", done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_kernels_compile_within_the_budget_of_registers(source: str) -> None:
    if library_file() is None and os.environ.get(REQUIRED) != "1":
        pytest.skip(
            "the library of NVRTC is not installed: pip install 'cuda-toolkit[cccl,crt,cudart,nvrtc]==13.0.*'"
        )
    assert "nvrtc" in compilers()
    found = resources(source)
    assert over_budget(found) == []
    assert {each.kernel for each in found} == {f"{source}/{name}" for name in host_kernels(source)}


def test_the_assemblers_report_is_understood() -> None:
    one, two = Resources("a/one", "sm_90a", 64, 12), Resources("a/two", "sm_90a", 20, 0)
    assert list(reported(LOG, "a", "sm_90a")) == [one, two]


def test_more_spills_than_recorded_are_a_complaint() -> None:
    kernel, (registers, spills) = next((name, known["sm_90a"]) for name, known in budget().items())
    assert over_budget([Resources(kernel, "sm_90a", registers + 9, spills)]) == []
    (complaint,) = over_budget([Resources(kernel, "sm_90a", registers, spills + 4)])
    assert f"spills {spills + 4} bytes" in complaint
    (complaint,) = over_budget([Resources("nobody", "sm_90a", 1, 0)])
    assert "run with --record" in complaint


def test_a_compile_error_shows_what_the_compiler_wrote(tmp_path: Path) -> None:
    if (file := library_file()) is None:
        pytest.skip("NVRTC is not installed")
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void f() { nobody(); }\n")
    with pytest.raises(CompileError, match='identifier "nobody" is undefined'):
        Nvrtc(file).compile(source, "sm_90a")
