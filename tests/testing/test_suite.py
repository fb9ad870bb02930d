"""The suite as others use it: kernels, third-party backends, failures that read well, no Hypothesis."""

import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from vitref import backends
from vitref.components import layer_norm, softmax
from vitref.testing import suite
from vitref.testing.cases import SPECS
from vitref.testing.problem import Case
from vitref.testing.values import LAYOUTS

NUMPY = backends.get("numpy")


def kernel(refused: str | None = None, factor: float = 1.0, **changes: Any) -> SimpleNamespace:
    """A kernel for `softmax` that calls the reference, and keeps its calls in `calls`."""
    calls: list[dict[str, Any]] = []

    def forward(x: Any, *, xp: Any, ws: Any, keep: bool) -> Any:
        calls.append({"ws": ws, "keep": keep})
        return softmax.forward(x, xp=xp)

    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
        return (softmax.backward(dy, saved, xp=xp).x * xp.astype(xp.zeros(()) + factor, dy.dtype),)

    declared = {"PARAMS": (), "HIDES": (), "ADDS": False, "refuses": lambda x: refused}
    made = {"forward": forward, "backward": backward, "calls": calls}
    return SimpleNamespace(**(declared | made | changes))


@pytest.mark.parametrize("check", suite.CHECKS)
def test_right_kernel_passes(check: str) -> None:
    part = kernel()
    suite.verify("softmax", check, NUMPY, part=part, share=0.1)
    assert all(call == {"ws": None, "keep": True} for call in part.calls)
    assert part.calls or check == "refusals"


@pytest.mark.parametrize("check", ["adjoint", "precision"])
def test_wrong_kernel_is_measured_against_the_reference(check: str) -> None:
    with pytest.raises(AssertionError, match="is off by"):
        suite.verify("softmax", check, NUMPY, part=kernel(factor=1.001), share=0.1)


def test_what_a_kernel_refuses_is_not_tested() -> None:
    part = kernel(factor=1.001, refuses=lambda x: None if x.shape[-1] == 1 else "too wide")
    suite.verify("softmax", "adjoint", NUMPY, part=part, share=0.3)  # one class: the gradient is 0
    assert part.calls


def test_a_kernel_that_refuses_a_dtype_is_tested_in_the_other() -> None:
    def refuses(x: Any) -> str | None:
        return "no float64" if str(x.dtype) == "float64" else None

    suite.verify("softmax", "precision", NUMPY, part=kernel(refuses=refuses), share=0.3)
    with pytest.raises(AssertionError, match="is off by"):
        suite.verify("softmax", "precision", NUMPY, part=kernel(factor=1.001, refuses=refuses), share=0.3)


def test_a_kernel_that_refuses_everything_is_not_said_to_pass() -> None:
    with pytest.raises(AssertionError, match="nothing is tested"):
        suite.verify("softmax", "adjoint", NUMPY, part=kernel(refused="not today"), share=0.1)


def test_implementation_of_ones_own_is_measured_against_the_reference() -> None:
    """The forward pass is right for a function that LayerNorm is not, in every dtype."""

    def forward(x: Any, weight: Any, bias: Any, *, eps: float, xp: Any) -> Any:
        return layer_norm.forward(x, weight, bias, eps=2 * eps, xp=xp)

    own = SimpleNamespace(forward=forward, backward=layer_norm.backward, PARAMS=layer_norm.PARAMS)
    with pytest.raises(AssertionError, match="beside float64"):
        suite.verify("layer_norm", "precision", NUMPY, part=own)


def test_failure_shows_the_smallest_case() -> None:
    wrong = SimpleNamespace(**vars(softmax))
    wrong.backward = lambda dy, saved, xp: softmax.Grads(dy * saved.y)
    with pytest.raises(AssertionError) as caught:
        suite.verify("softmax", "adjoint", NUMPY, part=wrong)
    said = "\n".join([str(caught.value), *caught.value.__notes__])
    assert "<dy, J v> - <J^T dy, v> for x is off by" in said
    assert "regime='plain'" in said
    assert "layout='contiguous'" in said


def in_python(code: str) -> subprocess.CompletedProcess[str]:
    blocked = "import sys; sys.modules['hypothesis'] = None\n"
    return subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True)


def test_without_hypothesis_everything_but_the_suite_works() -> None:
    run = in_python("import vitref.testing.checks; print(vitref.testing.tolerance('float64') < 1e-15)")
    assert (run.stdout.strip(), run.stderr) == ("True", "")


def test_without_hypothesis_the_suite_names_the_extra() -> None:
    run = in_python("import vitref.testing.suite")
    assert run.returncode == 1
    assert run.stderr.strip().endswith('the property suite needs Hypothesis: pip install "vitref[test]"')
    assert "ImportError" in run.stderr


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError):
        suite.verify("softmax", "no such check", NUMPY)
    with pytest.raises(ModuleNotFoundError):
        suite.verify("no_such_component", "pure", NUMPY)


@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_every_regime_is_tried_in_every_dtype(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Case] = []
    monkeypatch.setitem(suite.CHECKS, "watch", lambda subject, problem: tried.append(problem.case))
    suite.verify(component, "watch", NUMPY)
    pairs = Counter((case.regime, case.dtype) for case in tried)
    assert set(pairs) == {(r, d) for r in SPECS[component].regimes for d in NUMPY.dtypes}
    assert min(pairs.values()) >= 5
    assert {case.layout for case in tried} == set(LAYOUTS)
