"""Everything that needs a GPU, by one command, in under ten minutes; from the root of the repository:

    python tests/gpu/run_all.py [--quick] [--steps NAME,...] [--name NAME] [--minutes N]

Each step is a process with a time limit of its own; one that fails or is stopped does not stop the others.
After every step results/gpu-NAME.json and .md are written anew, so that a run that is cut short keeps what
it had. Exits with 1 when a step failed. Needs CuPy, pytest and Hypothesis; vitref itself need not be
installed.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 9.7
TAIL = 6000
"""Characters of a step's output that are kept."""


class Step(NamedTuple):
    """command   argument list; "{results}" and "{name}" stand for the folder of results and the run's name
    seconds   its time limit
    needs     programs without which it is left out
    """

    name: str
    what: str
    command: tuple[str, ...]
    seconds: int
    needs: tuple[str, ...] = ()


def tests(name: str, what: str, seconds: int) -> Step:
    command = (sys.executable, "-P", "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider")
    return Step(name, what, (*command, f"tests/gpu/test_{name}.py"), seconds)


def sanitized(tool: str) -> Step:
    command = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-P")
    name = f"sanitizer-{tool}"
    return Step(name, tool, (*command, "tests/gpu/sanitized.py"), 60, ("compute-sanitizer",))


def bench(name: str, what: str, seconds: int, **options: str) -> Step:
    given = [part for key, value in options.items() for part in (f"--{key}", value)]
    command = (sys.executable, "-P", "-m", "vitref", "bench", "--device", "cuda", *given)
    return Step(name, what, (*command, "--save", f"{{results}}/gpu-{{name}}-{name}.json"), seconds)


VIT_B = {"models": "ViT-B/16", "rounds": "2"}
BFLOAT16 = {"dtype": "bfloat16", "batch": "64"}
SPEED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("bf16", "forward, batch 64", {**BFLOAT16, "passes": "forward", "peers": "timm,timm-compile-default"}),
    (
        "training",
        "forward and backward",
        {**BFLOAT16, "passes": "backward", "peers": "timm,timm-compile-default"},
    ),
    (
        "fp32",
        "forward in float32",
        {
            "batch": "64",
            "precision": "strict,fp32x3,tf32",
            "passes": "forward",
            "peers": "timm,timm-compile-default",
        },
    ),
    (
        "one",
        "forward, batch 1",
        {**BFLOAT16, "batch": "1", "passes": "forward", "peers": "timm,timm-compile-reduce-overhead"},
    ),
    (
        "every-mode",
        "as the first two, beside every mode of torch.compile",
        {**BFLOAT16, "batch": "64,256", "peers": "timm-compile"},
    ),
)
"""What `vitref bench` measures, beside what: name, words, options. They may take more than one call."""

STEPS = (
    tests("machine", "versions, and what copies and products reach at most", 60),
    tests("kernels", "every kernel against float64, twenty times the same bits", 150),
    tests("models", "whole models in every precision: error against float64", 120),
    tests("graphs", "replayed passes have the bits of passes step by step", 60),
    tests("device", "memory, other libraries' arrays, threads, bad use", 60),
    tests("checkpoint", "a real checkpoint in every precision", 60),
    *(bench(f"speed-{name}", what, 400, **VIT_B, **options) for name, what, options in SPEED[:-1]),
    tests("suite", "properties of components, kernels and small models", 150),
    *(sanitized(tool) for tool in ("memcheck", "racecheck", "initcheck", "synccheck")),
    bench(f"speed-{SPEED[-1][0]}", SPEED[-1][1], 580, **VIT_B, **SPEED[-1][2]),
)


class Result(NamedTuple):
    """status   "passed", "failed", "stopped" at its time limit, or "left out" with the reason as output
    measured  what the step noted
    """

    status: str
    seconds: float
    output: str
    measured: dict[str, Any]


def run(step: Step, seconds: float, environment: dict[str, str], results: Path, name: str) -> Result:
    """Run one step for at most so many seconds; its processes are gone afterwards."""
    missing = [program for program in step.needs if shutil.which(program, path=environment["PATH"]) is None]
    if missing:
        return Result("left out", 0.0, f"{', '.join(missing)} not installed", {})
    if seconds < 5:
        return Result("left out", 0.0, "no time left", {})
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        notes, log = Path(folder, "notes.json"), Path(folder, "output")
        command = [part.replace("{results}", str(results)).replace("{name}", name) for part in step.command]
        with log.open("wb") as output:
            status = _status(command, seconds, {**environment, "VITREF_GPU_NOTES": str(notes)}, output)
        text = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        return Result(status, round(time.monotonic() - start, 1), text, _noted(notes))


def _status(command: Sequence[str], seconds: float, environment: dict[str, str], output: Any) -> str:
    how: dict[str, Any] = {"stdout": output, "stderr": subprocess.STDOUT, "cwd": ROOT, "env": environment}
    try:
        process = subprocess.Popen(command, start_new_session=True, **how)
    except OSError as error:
        output.write(str(error).encode())
        return "failed"
    try:
        return "failed" if process.wait(seconds) else "passed"
    except subprocess.TimeoutExpired:
        return "stopped"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _noted(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def importable(folder: Path) -> Path:
    """A folder for PYTHONPATH in which this checkout is `vitref` and `tests`."""
    package = folder / "vitref"
    package.mkdir(parents=True)
    for entry in (ROOT / "vitref").iterdir():
        (package / entry.name).symlink_to(entry)
    for name in ("backends", "weights"):
        (package / name).symlink_to(ROOT / name)
    (folder / "tests").symlink_to(ROOT / "tests")
    about = folder / "vitref-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vitref\nVersion: {_version()}\n")
    return folder


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def environment(site: Path, quick: bool) -> dict[str, str]:
    """That of the steps: this checkout first, NVIDIA's programs found, NumPy at its full speed."""
    given = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    paths = [str(site), *filter(None, [given.get("PYTHONPATH")])]
    programs = [given.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    given |= {"PYTHONPATH": os.pathsep.join(paths), "PATH": os.pathsep.join(programs)}
    return {**given, "VITREF_GPU_QUICK": "1"} if quick else given


def run_all(
    steps: Sequence[Step], results: Path, name: str, *, seconds: float, quick: bool = False
) -> dict[str, Result]:
    """Run the steps in their order, within so many seconds together; write what is known after each."""
    done: dict[str, Result] = {}
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    end = time.monotonic() + seconds
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        given = environment(importable(Path(folder, "site")), quick)
        for step in steps:
            left = end - time.monotonic()
            print(f"{step.name}: {step.what} ...", flush=True)
            done[step.name] = run(step, min(step.seconds, left), given, results, name)
            print(f"{step.name}: {done[step.name].status} in {done[step.name].seconds} s", flush=True)
            write(results, name, steps, done, started, quick)
    return done


def write(
    results: Path, name: str, steps: Sequence[Step], done: dict[str, Result], started: str, quick: bool
) -> None:
    about = {"started": started, "quick": quick, "python": platform.python_version(), "commit": _commit()}
    values = {**about, "steps": {key: result._asdict() for key, result in done.items()}}
    _whole(results / f"gpu-{name}.json", json.dumps(values, indent=1) + "\n")
    _whole(results / f"gpu-{name}.md", page(steps, done, about))


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _whole(path: Path, text: str) -> None:
    """Replace the file at once: a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def page(steps: Sequence[Step], done: dict[str, Result], about: dict[str, Any]) -> str:
    """The results for people: a table of the steps, then what each measured."""
    lines = ["# Results on a GPU", "", ", ".join(f"{key} {value}" for key, value in about.items()), ""]
    lines += ["| step | what | status | seconds |", "|---|---|---|---|"]
    for step in steps:
        result = done.get(step.name, Result("not run yet", 0.0, "", {}))
        lines.append(f"| {step.name} | {step.what} | {result.status} | {result.seconds} |")
    for key, result in done.items():
        if result.measured:
            lines += ["", f"## {key}", "", "| what | measured |", "|---|---|"]
            lines += [f"| {what} | {_plain(value)} |" for what, value in result.measured.items()]
        if result.status in ("failed", "stopped"):
            lines += ["", f"## {key} {result.status}", "", "```", result.output.strip(), "```"]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(x)}" for key, x in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def gpu_name() -> str:
    """Of the first GPU, fit for a file name; "unknown" where nothing tells."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    words = (said.splitlines() or [""])[0].lower().split()
    return "-".join("".join(c for c in word if c.isalnum()) for word in words) or "unknown"


def no_gpu() -> str:
    """Why nothing here can be run; empty where it can."""
    if os.environ.get("VITREF_GPU_STAND_IN") == "1":
        return ""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-c", "from vitref import backends; backends.get('cupy')"]
        given = environment(importable(Path(folder, "site")), quick=False)
        tried = subprocess.run(command, capture_output=True, text=True, env=given)
    return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""


def main(arguments: Sequence[str] | None = None, steps: Sequence[Step] = STEPS) -> int:
    parser = argparse.ArgumentParser(description="Everything that needs a GPU.")
    parser.add_argument("--steps", metavar="NAMES", help="of " + ",".join(step.name for step in steps))
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    parser.add_argument("--name", help="of the files of results; default: that of the GPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for all; default: {MINUTES}")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder; default: results")
    args = parser.parse_args(arguments)
    names = args.steps.split(",") if args.steps else [step.name for step in steps]
    if unknown := set(names) - {step.name for step in steps}:
        parser.error(f"no step called {', '.join(sorted(unknown))}")
    if missing := no_gpu():
        print(missing, file=sys.stderr)
        return 2
    chosen = [step for step in steps if step.name in names]
    name = args.name or gpu_name()
    done = run_all(chosen, args.results, name, seconds=60 * args.minutes, quick=args.quick)
    print((args.results / f"gpu-{name}.md").read_text(encoding="utf-8"))
    return int(any(result.status in ("failed", "stopped") for result in done.values()))


if __name__ == "__main__":
    sys.exit(main())
