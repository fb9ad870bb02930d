"""The tables: vitref divided by each peer, by the best, and what was left out."""

from rich.console import Console
from rich.table import Table

from vitref.benchmark import report
from vitref.benchmark.case import Case
from vitref.benchmark.interleave import Left, Measured, Outcome

SMALL = Case("ViT-Ti/16", 1, "float32", "forward")


def measured(name: str, *seconds: float, memory: float | None = None) -> Measured:
    return Measured(name, list(seconds), memory, {}, [])


NUMPY = measured("vitref-numpy", 3.0, 1.0, 2.0, memory=300.0)
NUMBA = measured("vitref-numba", 1.0, memory=50.0)
TORCH = measured("torch", 4.0, 4.0, 8.0, memory=100.0)
JAX = measured("jax", 0.5)
DEFAULT = measured("torch-compile-default", 2.5, memory=10.0)
AUTOTUNED = measured("torch-compile-max-autotune", 1.6, memory=20.0)
FLOOR = measured("products", 0.25, memory=1.0)


def cells(table: Table) -> list[list[str]]:
    """Headings, then the rows."""
    console = Console(width=250)
    with console.capture() as captured:
        console.print(table)
    lines = [line.strip() for line in captured.get().splitlines() if line.strip().startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def test_ratios_are_vitref_divided_by_the_peer() -> None:
    results = {SMALL: Outcome([NUMPY, TORCH, JAX], []), SMALL._replace(batch=8): Outcome([NUMPY, TORCH], [])}
    heading, first, second = cells(report.times(results))
    assert heading == ["model", "batch", "dtype", "pass", "backend", "ms", "/ best", "/ torch", "/ jax"]
    assert first == ["ViT-Ti/16", "1", "float32", "forward", "numpy", "2000", "4.00 (jax)", "0.50", "4.00"]
    assert second[5:] == ["2000", "0.50 (torch)", "0.50", ""]
    heading, first, _ = cells(report.memory(results))
    assert heading[5:] == ["MiB", "/ best", "/ torch", "/ jax"]
    assert first[5:] == ["300", "", "3.00", ""]


def test_of_a_compiler_the_best_mode_counts_and_is_named() -> None:
    results = {SMALL: Outcome([NUMPY, TORCH, DEFAULT, AUTOTUNED], [])}
    heading, row = cells(report.times(results))
    assert heading[6:] == ["/ best", "/ torch", "/ torch-compile"]
    assert row[6:] == ["1.25 (torch-compile-max-autotune)", "0.50", "1.25 (max-autotune)"]
    _, row = cells(report.memory(results))
    assert row[6:] == ["15.00 (torch-compile-max-autotune)", "3.00", "15.00 (max-autotune)"]


def test_a_floor_is_no_peer_and_has_no_memory() -> None:
    results = {SMALL: Outcome([NUMPY, TORCH, FLOOR], [])}
    heading, row = cells(report.times(results))
    assert (heading[-1], row[-1]) == ("/ products", "8.00")
    assert row[6] == "0.50 (torch)"
    assert cells(report.memory(results))[0][-1] == "/ torch"


def test_every_backend_of_vitref_has_its_row() -> None:
    _, first, second = cells(report.times({SMALL: Outcome([NUMPY, NUMBA, TORCH], [])}))
    assert (first[4:7], second[4:7]) == (
        ["numpy", "2000", "0.50 (torch)"],
        ["numba", "1000", "0.25 (torch)"],
    )


def test_without_peers_there_are_no_ratios() -> None:
    assert cells(report.times({SMALL: Outcome([NUMPY], [])}))[0][-1] == "ms"


def test_unusual_fields_of_a_case_are_shown() -> None:
    results = {SMALL._replace(image_size=1024, depth=2): Outcome([NUMPY], [])}
    heading, row = cells(report.times(results))
    assert heading[4:6] == ["image size", "depth"]
    assert row[4:6] == ["1024", "2"]
    assert report.describe(SMALL._replace(precision="tf32")) == [*map(str, SMALL[:4]), "tf32"]


def test_what_was_left_out_is_said() -> None:
    short, wrong = Left("jax", "needs more", False), Left("torch", "it broke", True)
    results = {SMALL: Outcome([NUMPY], [short, wrong])}
    assert report.left_out(results) == [
        "jax at ViT-Ti/16 1 float32 forward: needs more",
        "torch at ViT-Ti/16 1 float32 forward: it broke",
    ]
    assert report.left_out(results, failed=True) == ["torch at ViT-Ti/16 1 float32 forward: it broke"]
    plain = report.plain(results, {}, 3)
    assert [(left["candidate"], left["batch"]) for left in plain["left_out"]] == [("jax", 1), ("torch", 1)]
    assert plain["results"][0]["median"] == 2.0
    assert plain["results"][0]["precision"] == "strict"


def test_libraries_are_named_with_the_device() -> None:
    own = Measured("vitref-cupy", [1.0], None, {"cupy": "14"}, ["openblas x2"], "a GPU")
    assert report.libraries({SMALL: Outcome([own], [])}) == {"vitref-cupy": "cupy 14, openblas x2, a GPU"}
