"""What is written about the code is complete and runs: docstrings, doctests, code blocks of the pages."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

HEADINGS = [
    "Forward",
    "Backward",
    "Derivation",
    "Shapes",
    "Raises",
    "Numerics",
    "Invariants",
    "Keeps",
    "Mistakes",
    "Source",
]

RUNNABLE = re.compile(r"^```python run\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A block that opens with "```python run" is executed, with the doctests of its docstring if it has one;
the blocks of one page share their names."""


def headings(docstring: str) -> list[str]:
    """First words of the lines that begin at the margin, below the summary and before the doctest."""
    _, _, body = inspect.cleandoc(docstring).partition("\n\n")
    lines = body.partition(">>>")[0].splitlines()
    return [line.split()[0] for line in lines if line[:1].isalpha()]


def docstring_of(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def complaints(case: doctest.DocTest) -> str:
    """What doctest prints about the examples that fail."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(case, out=said.append)
    return "".join(said)


def imported(module: str) -> ModuleType:
    """The module; skips where it is of a backend whose library is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if module.startswith("vitref.backends.") and not str(error.name).startswith("vitref"):
            pytest.skip(f"{error.name} is not installed")
        raise


@pytest.mark.modules("vitref")
def test_module_says_what_belongs_in_it(module: str, path: Path) -> None:
    assert docstring_of(path), "a docstring at the top of the file is missing"


@pytest.mark.modules("vitref.components.")
def test_component_has_all_headings_in_order(module: str, path: Path) -> None:
    assert headings(docstring_of(path)) == HEADINGS


@pytest.mark.modules("vitref.components.")
def test_component_has_a_worked_example_of_both_directions(module: str, path: Path) -> None:
    source = "".join(example.source for example in doctest.DocTestParser().get_examples(docstring_of(path)))
    assert "forward(" in source
    assert "backward(" in source


@pytest.mark.modules("vitref")
def test_doctests_pass(module: str, path: Path) -> None:
    if module.endswith("__main__"):  # importing it runs the command line
        return
    for case in doctest.DocTestFinder().find(imported(module), module):
        assert complaints(case) == ""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_runnable_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(RUNNABLE.findall(page.read_text(encoding="utf-8")), start=1):
        title = f"{page.name}, block {number}"
        exec(compile(block, title, "exec"), names)
        examples = str(names.pop("__doc__", ""))
        assert complaints(doctest.DocTestParser().get_doctest(examples, names, title, page.name, 0)) == ""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []
