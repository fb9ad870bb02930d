"""The kernels of single components: the whole property suite, on one thread and on a team, and wide rows."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vitref import backends
from vitref.array import NUMPY
from vitref.backends.interface import Backend
from vitref.backends.workspace import Workspace
from vitref.testing import suite
from vitref.testing.problem import Case, problem
from vitref.testing.shapes import Arguments, Labels
from vitref.testing.subject import Subject

pytest.importorskip("numba")

KERNELS = [name for name in backends.get("numba").kernels if name in suite.COMPONENTS]
CHECKS = [*(check for check in suite.CHECKS if check != "refusals"), *suite.KERNEL_CHECKS]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """However small an array is, three threads share it."""
    from vitref.backends.numba_kernels import linear, rows

    for module in (linear, rows):
        monkeypatch.setattr(module, "SMALL", 0)
    chosen = backends.get("numba", threads=3)
    with chosen.scope():
        yield chosen


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("component", KERNELS)
def test_kernel_has_every_property(component: str, check: str, backend: Backend) -> None:
    suite.verify(component, check, backend, part=backend.kernels[component], share=0.4)


@pytest.mark.parametrize("component", KERNELS)
def test_kernel_on_one_thread(component: str) -> None:
    alone = backends.get("numba", threads=1)
    for check in ("precision", "workspace"):
        suite.verify(component, check, alone, part=alone.kernels[component], share=0.2)


WIDE = {
    "cross_entropy": [
        Arguments({"x": (37, 131)}, {"labels": Labels(kind, 37, 131)}) for kind in ("integers", "weights")
    ],
    "gelu": [Arguments({"x": (2, 13, 131)}, {"form": form}) for form in ("erf", "tanh")],
    "layer_norm": [
        Arguments({"x": (2, 13, 131), "weight": (131,), "bias": (131,)}, {"eps": eps}) for eps in (1e-6, 1e-2)
    ],
    "linear": [
        Arguments({"x": (2, 13, 131), "weight": (67, 131), "bias": (67,)}),
        Arguments({"x": (5, 131), "weight": (67, 131), "bias": None}),
    ],
    "patch_projection": [Arguments({"x": (2, 13, 60), "weight": (37, 3, 4, 5), "bias": (37,)})],
    "softmax": [Arguments({"x": (2, 13, 131)}), Arguments({"x": (3, 257)})],
}
"""Rows of many vectors with something left over, and more than one row for each thread."""


@pytest.mark.parametrize(("dtype", "layout"), [("float32", "contiguous"), ("float64", "transposed")])
@pytest.mark.parametrize("regime", ["plain", "large"])
@pytest.mark.parametrize("component", KERNELS)
def test_wide_rows_are_right(component: str, regime: str, dtype: str, layout: str, backend: Backend) -> None:
    for arguments in WIDE[component]:
        posed = problem(Case(component, arguments, regime, layout, dtype, seed=1), _reference(component))
        subject = Subject(backend.kernels[component], backend)
        for check in ("precision", "pure", "adds", "workspace"):
            (suite.CHECKS | suite.KERNEL_CHECKS)[check](subject, posed)


def _reference(component: str) -> Any:
    return importlib.import_module(f"vitref.components.{component}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("component", ["gelu", "layer_norm", "linear", "softmax"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(component: str, bad: float, dtype: str, backend: Backend) -> None:
    """One bad element: the kernel gives numbers exactly where the reference does."""
    arguments = WIDE[component][0]
    posed = problem(Case(component, arguments, "plain", "contiguous", dtype, seed=2), _reference(component))
    args = tuple(None if x is None else x.copy() for x in posed.args)
    args[0][..., -1, 7] = bad  # type: ignore[index]
    with np.errstate(all="ignore"):
        y, _ = Subject(backend.kernels[component], backend).forward(args, posed.static)
        expected, _ = _reference(component).forward(*args, **posed.static, xp=NUMPY)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
    if np.isnan(bad):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


def test_wrong_parameters_are_refused_as_by_the_component(backend: Backend) -> None:
    x = np.ones((2, 3))
    for name, wrong in {
        "layer_norm": (np.ones(2), np.ones(3)),
        "linear": (np.ones((4, 2)), np.ones(4)),
        "patch_projection": (np.ones((4, 1, 1, 3)), np.ones(3)),
    }.items():
        static = {"eps": 1e-6} if name == "layer_norm" else {}
        with pytest.raises(ValueError, match="expected") as expected:
            _reference(name).forward(x, *wrong, **static)
        with pytest.raises(ValueError, match="expected") as found:
            backend.kernels[name].forward(x, *wrong, **static, xp=NUMPY, ws=None, keep=True)
        assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("name", "inputs", "static", "why"),
    [
        ("softmax", (np.ones((2, 0)),), {}, "no row has an element"),
        ("softmax", (np.ones(2, "float16"),), {}, "dtype float16"),
        ("layer_norm", (np.ones(2, complex),), {"eps": 1.0}, "dtype complex128"),
        ("gelu", (np.ones(2),), {"form": "quick"}, "form 'quick'"),
    ],
)
def test_what_a_kernel_cannot_do_it_refuses(
    name: str, inputs: Any, static: Any, why: str, backend: Backend
) -> None:
    assert backend.kernels[name].refuses(*inputs, **static) == why


@pytest.mark.parametrize("component", ["layer_norm", "linear", "patch_projection"])
def test_gradients_are_written_where_the_caller_says(component: str, backend: Backend) -> None:
    posed = problem(
        Case(component, WIDE[component][0], "plain", "contiguous", "float64", seed=3), _reference(component)
    )
    parameters = dict(zip(("weight", "bias"), posed.args[1:], strict=True))
    outs = {f"fc.{name}": np.full_like(array, np.nan) for name, array in parameters.items()}
    scratch = Workspace(np.empty, outs=outs).at("fc", {name: f"fc.{name}" for name in parameters})
    kernel = backend.kernels[component]
    _, saved = kernel.forward(*posed.args, **posed.static, xp=NUMPY, ws=scratch, keep=True)
    _, *found = kernel.backward(posed.dy, saved, xp=NUMPY, ws=scratch)
    _, expected = Subject(kernel, backend).passes(posed.args, posed.static, posed.dy)
    for gradient, out, alone in zip(found, outs.values(), expected[1:], strict=True):
        assert gradient is out
        np.testing.assert_array_equal(gradient, alone)


@pytest.mark.parametrize("component", ["gelu", "layer_norm", "linear", "softmax"])
def test_no_rows_at_all(component: str, backend: Backend) -> None:
    """As the component: empty results, and zero gradients of parameters."""
    args: dict[str, Any] = {
        "gelu": ((), {"form": "erf"}),
        "layer_norm": ((np.ones(5), np.ones(5)), {"eps": 1e-6}),
        "linear": ((np.ones((3, 5)), np.ones(3)), {}),
        "softmax": ((), {}),
    }
    parameters, static = args[component]
    expected, of_reference = _reference(component).forward(
        np.ones((0, 2, 5)), *parameters, **static, xp=NUMPY
    )
    subject = Subject(backend.kernels[component], backend)
    y, saved = subject.forward((np.ones((0, 2, 5)), *parameters), static)
    assert y.shape == expected.shape
    grads = _reference(component).backward(expected, of_reference, xp=NUMPY)
    for found, gradient in zip(subject.backward(y, saved), grads, strict=True):
        np.testing.assert_array_equal(found, gradient)


def test_the_number_of_threads_does_not_change_rows() -> None:
    """What is computed row by row has the same bits on any team; sums over rows need not."""
    x = np.random.default_rng(1).standard_normal((300, 257)).astype("float32")
    args: dict[str, Any] = {
        "softmax": ((x,), {}),
        "gelu": ((x,), {"form": "erf"}),
        "layer_norm": ((x, x[0], x[1]), {"eps": 1e-6}),
    }
    for name, (arrays, static) in args.items():
        results = [
            backends.get("numba", threads=threads)
            .kernels[name]
            .forward(*arrays, **static, xp=NUMPY, ws=None, keep=False)[0]
            for threads in (1, 2, 5)
        ]
        assert len({result.tobytes() for result in results}) == 1, name
