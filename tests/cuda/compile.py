"""Compile every CUDA kernel as the product does, without a GPU, and watch its registers.

    python -m tests.cuda.compile              registers and spills of every kernel; fails above the budget
    python -m tests.cuda.compile --record     makes what is found the budget (registers.json)
    python -m tests.cuda.compile SOURCE...    these sources only

NVRTC compiles for all architectures, nvcc, where it is installed, for one: they differ in what they accept.
A spill is a register that has to be kept in memory; the budget is the bytes of spills per kernel.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.cuda.host import CUDA, include_folder
from tests.cuda.nvrtc import CompileError, Nvrtc, library_file

ARCHITECTURES = ("sm_80", "sm_90a", "sm_100")
BUDGET = Path(__file__).parent / "registers.json"
SOURCES = tuple(sorted(path.stem for path in CUDA.glob("*.cu")))

KERNEL = re.compile(
    r"Compiling entry function '(?P<name>\w+)'"
    r".*?\d+ bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class Resources(NamedTuple):
    """Of one kernel on one architecture: registers per thread, and bytes that it spills.

    kernel  SOURCE/NAME
    """

    kernel: str
    architecture: str
    registers: int
    spills: int


def reported(log: str, source: str, architecture: str) -> Iterator[Resources]:
    """What the assembler's report says of each kernel."""
    for found in KERNEL.finditer(log):
        spills = max(int(found["stores"]), int(found["loads"]))
        name = f"{source}/{found['name']}"
        yield Resources(name, architecture, int(found["registers"]), spills)


def by_nvrtc(file: Path, source: str, architecture: str) -> list[Resources]:
    """By the compiler in this library. Raises CompileError."""
    log = Nvrtc(file).compile(CUDA / f"{source}.cu", architecture)[1]
    return list(reported(log, source, architecture))


def by_nvcc(source: str, architecture: str) -> list[Resources]:
    """Raises CompileError."""
    virtual = architecture.replace("sm", "compute")
    with tempfile.TemporaryDirectory() as folder:
        command = ["nvcc", "-std=c++17", f"-gencode=arch={virtual},code={architecture}", "-Xptxas", "-v"]
        command += [
            "-cubin",
            f"-I{include_folder()}",
            "-o",
            f"{folder}/out.cubin",
            str(CUDA / f"{source}.cu"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"{source}.cu by nvcc for {architecture}:\n{done.stderr}")
    return list(reported(done.stderr, source, architecture))


def compilers() -> list[str]:
    """Of "nvrtc" and "nvcc" those that are installed."""
    return ["nvrtc"] * (library_file() is not None) + ["nvcc"] * (shutil.which("nvcc") is not None)


def resources(source: str) -> list[Resources]:
    """By every compiler that is installed, side by side. Raises CompileError."""
    jobs: list[Callable[[], list[Resources]]] = []
    if file := library_file():
        jobs += [partial(by_nvrtc, file, source, architecture) for architecture in ARCHITECTURES]
    if shutil.which("nvcc"):
        jobs.append(partial(by_nvcc, source, "sm_90a"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [each for found in threads.map(lambda job: job(), jobs) for each in found]


def budget() -> dict[str, dict[str, list[int]]]:
    """Kernel -> architecture -> [registers, bytes of spills]."""
    return dict(json.loads(BUDGET.read_text())) if BUDGET.exists() else {}


def over_budget(found: list[Resources]) -> list[str]:
    """Kernels that spill more than was recorded, or are not in the record."""
    allowed, complaints = budget(), []
    for kernel, architecture, _, spills in found:
        known = allowed.get(kernel, {}).get(architecture)
        if known is None:
            complaints.append(f"{kernel} for {architecture} is not in {BUDGET.name}: run with --record")
        elif spills > known[1]:
            complaints.append(f"{kernel} for {architecture} spills {spills} bytes, budget {known[1]}")
    return complaints


def record(found: list[Resources], all_sources: bool) -> None:
    """Make this the budget; what other sources have stays."""
    table = {} if all_sources else budget()
    for kernel, architecture, registers, spills in found:
        before = table.setdefault(kernel, {}).get(architecture, [0, 0])
        table[kernel][architecture] = [max(registers, before[0]), max(spills, before[1])]
    lines = [f"  {json.dumps(kernel)}: {json.dumps(table[kernel])}" for kernel in sorted(table)]
    BUDGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("--")]
    print(f"compilers: {', '.join(compilers()) or 'none'}")
    found: list[Resources] = []
    for source in names or SOURCES:
        try:
            found += (new := resources(source))
        except CompileError as error:
            print(error)
            return 1
        for kernel, architecture, registers, spills in new:
            print(f"{kernel:56} {architecture:7} {registers:4} registers {spills:5} bytes spilled")
    if "--record" in arguments:
        record(found, not names)
    complaints = over_budget(found)
    print("\n".join(complaints) or f"{len(found)} compilations, none above the budget")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
