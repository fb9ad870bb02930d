"""Attention by the CUDA kernels: any order of threads, no missing barrier, nothing outside its arrays."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.attention_cases import KERNELS, Case, by_kernel, limited, problem, solved
from tests.cuda.host import CUDA, SANITIZERS
from vitref.backends.cupy_kernels.attention_plan import SHARED_LIMIT

QUICK = ("-O0",)
WATCHED = (*SANITIZERS, "-O1")

WIDTH_32 = {
    "attention_32": "FORWARD_16(32, bf16) BACKWARD_16(32, bf16) BACKWARD_SHORT_16(32, bf16)",
    "attention_32_f32": "ATTENTION_STRICT(32) ATTENTION_TF32(32, tf32, false)",
}
"""Source -> the kernels of it that are compiled here."""


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("dtype", "math"), KERNELS)
def test_the_order_of_threads_and_blocks_changes_no_bit(dtype: str, math: str, order: int) -> None:
    for case, _ in KERNELS[dtype, math]:
        found, expected = solved(case, dtype, math, order)[0], solved(case, dtype, math)[0]
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


def reduced(folder: Path, **replaced: str) -> Path:
    """The sources with few kernels, and with other texts in place of some of the files."""
    for path in CUDA.glob("*.cuh"):
        (folder / path.name).write_text(replaced.get(path.stem, path.read_text()))
    for name, kernels in WIDTH_32.items():
        (folder / f"{name}.cu").write_text(f'#include "attention_kernels.cuh"\n{kernels}\n')
    return folder


def without(file: str, function: str, barrier: str) -> str:
    """The text of a file without the last such barrier in this function."""
    text = (CUDA / f"{file}.cuh").read_text()
    start = re.search(rf"\b{function}\(", text)
    assert start is not None
    end = text.find("\n}\n", start.start())
    place = text.rindex(barrier, start.start(), end)
    return text[:place] + text[place + len(barrier) :]


SHORT = ("bfloat16", "strict", Case(70, 24, keys=130))
LONG = ("bfloat16", "strict", Case(150, 27, keys=290, heads=1))
"""Rows that are copied element by element: at once, not when they are waited for."""
PACKED = ("bfloat16", "strict", Case(70, 24, keys=100, limit=40_000))
STRICT = ("float32", "strict", Case(70, 24, keys=130))


@pytest.mark.parametrize(
    ("file", "function", "barrier", "run"),
    [
        ("attention_forward", "forward_short", "__syncthreads();", SHORT),
        ("attention_forward", "forward_long", "__syncthreads();", LONG),
        ("attention_forward", "forward_long", "copy_async_wait<1>();", PACKED),
        ("attention_backward_short", "backward_short", "__syncthreads();", SHORT),
        ("attention_backward_tiled", "backward_queries", "__syncthreads();", LONG),
        ("attention_backward_tiled", "backward_keys", "__syncthreads();", LONG),
        ("attention_strict", "strict_forward", "__syncthreads();", STRICT),
        ("attention_strict", "strict_put", "__syncwarp();", STRICT),
    ],
)
def test_a_missing_barrier_shows(
    file: str, function: str, barrier: str, run: tuple[str, str, Case], tmp_path: Path
) -> None:
    dtype, math, case = run
    folder = reduced(tmp_path, **{file: without(file, function, barrier)})
    expected = [x.tobytes() for x in solved(case, dtype, math)[0]]
    found = []
    for order in (0, 1, 2):
        device = limited(case.limit, order, folder=folder, flags=QUICK)
        found.append([x.tobytes() for x in by_kernel(problem(case, dtype), math, device)])
    assert any(one != expected for one in found)


def sanitized(folder: Path) -> None:
    """Every kernel with addresses and arithmetic watched: what is wrong ends the process."""
    for (dtype, math), cases in KERNELS.items():
        for case, _ in cases * (math != "fp32x3"):
            device = limited(case.limit, folder=folder, flags=WATCHED)
            for width in (case.width, 31):
                by_kernel(problem(case._replace(width=width), dtype), math, device)
        print(f"{dtype} {math}: clean")
    tiny = problem(Case(1, 1, heads=1), "bfloat16")
    by_kernel(tiny, "strict", limited(SHARED_LIMIT, folder=folder, flags=WATCHED))


def in_a_process(folder: Path) -> "subprocess.CompletedProcess[str]":
    """`sanitized` in a Python that the sanitizers watch."""
    library = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    watched = {
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "tests.cuda.test_attention_safety", str(folder)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, **watched},
        check=False,
    )


def test_nothing_outside_its_arrays_is_touched(tmp_path: Path) -> None:
    done = in_a_process(reduced(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_sanitizers_would_see_it(tmp_path: Path) -> None:
    text = (CUDA / "attention_tiles.cuh").read_text()
    wrong = text.replace("first + row < rows.count && column < rows.width", "column < rows.width")
    assert wrong != text
    done = in_a_process(reduced(tmp_path, attention_tiles=wrong))
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr


if __name__ == "__main__":
    sanitized(Path(sys.argv[1]))
