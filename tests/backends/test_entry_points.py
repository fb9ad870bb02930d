"""Backends of other packages: real installed packages, as Python's metadata finds them."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import vitref
from vitref import backends
from vitref.errors import BackendError

Install = Callable[..., None]

PLAIN = """
import dataclasses
from vitref import backends

def create(shown="example"):
    return dataclasses.replace(backends.get("numpy"), name=shown, kernels={})
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(package, source, **entry points)`: a package with one module of its own name."""

    def made(package: str, source: str, **points: str) -> None:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{package}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[vitref.backends]", *lines]))
        monkeypatch.syspath_prepend(site)

    return made


def refusal(name: str) -> BackendError:
    with pytest.raises(BackendError) as caught:
        backends.get(name)
    assert backends.available()[name] == str(caught.value)
    assert backends.available()["numpy"] is None
    return caught.value


def test_a_module_with_create(install: Install) -> None:
    install("first_of_all", PLAIN, first="first_of_all")
    assert backends.get("first").name == "example"
    assert backends.get("first", shown="other").name == "other"
    assert backends.available()["first"] is None


def test_a_function(install: Install) -> None:
    install("second_of_all", PLAIN, second="second_of_all:create")
    assert backends.get("second").name == "example"


def test_it_runs_a_model(install: Install) -> None:
    install("third_of_all", PLAIN, third="third_of_all")
    config = vitref.Config.variant("ViT-Ti/16", convention="timm", image_size=32, depth=1, classes=2)
    weights = vitref.init(config, seed=0)
    image = weights["patch_embed.proj.weight"][:1, :, :, :].repeat(2, axis=2).repeat(2, axis=3)
    expected = vitref.forward(weights, image)
    assert vitref.forward(weights, image, backend="third").tobytes() == expected.tobytes()


def test_an_unknown_option_is_refused(install: Install) -> None:
    install("optional", PLAIN, optional="optional")
    with pytest.raises(BackendError, match="threads=3; expected options among: shown"):
        backends.get("optional", threads=3)


def test_any_option_goes_where_create_takes_any(install: Install) -> None:
    install("anything", PLAIN.replace('shown="example"', 'shown="x", **options'), anything="anything")
    assert backends.get("anything", threads=3).name == "x"


def test_unknown_names_are_compared_with_theirs(install: Install) -> None:
    install("tensors", PLAIN, tinytensors="tensors")
    with pytest.raises(BackendError, match="numpy, numba, cupy, torch, jax, tinytensors.*'tinytensors'"):
        backends.get("tinytensor")


def test_a_broken_one_says_why_and_harms_no_other(install: Install) -> None:
    install("broken", "raise RuntimeError('no such chip')", broken="broken")
    error = refusal("broken")
    assert error.found == "RuntimeError: no such chip"
    assert isinstance(error.__cause__, RuntimeError)


def test_what_it_needs_is_named(install: Install) -> None:
    install("needing", "import a_library_that_nobody_has", needing="needing")
    assert refusal("needing").remedy == "Install it with pip install a_library_that_nobody_has."


def test_a_module_that_does_not_exist(install: Install) -> None:
    install("elsewhere", PLAIN, elsewhere="nowhere_at_all")
    assert "nowhere_at_all not installed" in refusal("elsewhere").found


def test_a_function_that_does_not_exist(install: Install) -> None:
    install("without", PLAIN, without="without:make")
    assert "has no attribute 'make'" in refusal("without").found


def test_a_module_without_create(install: Install) -> None:
    install("uncreative", "", uncreative="uncreative")
    assert "names no function" in refusal("uncreative").found


def test_create_must_return_a_backend(install: Install) -> None:
    install("misled", "def create():\n    return 'numpy'", misled="misled")
    assert refusal("misled").found == "a str made by misled.create"


def test_vitrefs_own_cannot_be_replaced(install: Install) -> None:
    own = backends.get("numpy")
    install("usurper", PLAIN, numpy="usurper")
    assert backends.get("numpy") is own
    reason = backends.available()["numpy of usurper"]
    assert reason is not None
    assert "the name 'numpy', which is vitref's own" in reason


def test_two_of_one_name_are_named(install: Install) -> None:
    install("left_hand", PLAIN, hand="left_hand")
    install("right_hand", PLAIN, hand="right_hand")
    error = refusal("hand")
    assert "left_hand" in error.found
    assert "right_hand" in error.found


def test_the_example_of_the_contributors_page(install: Install) -> None:
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.partition("\n## Adding a backend\n")[2].partition("\n## ")[0]
    source, _ = re.findall(r"^```python run\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    install("vitref_strict", source, **tomllib.loads(settings)["project"]["entry-points"]["vitref.backends"])
    assert set(backends.get("strict").kernels) == {"softmax"}
    assert backends.get("strict", in_place=False).kernels == {}
    assert backends.available()["strict"] is None
