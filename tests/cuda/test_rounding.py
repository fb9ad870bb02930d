"""CUDA kernels in 16 bits: what they compute is rounded once, when it is stored.

So a result is off by one rounding of itself, beyond what float32 explains. Components without a kernel are
tested too: `widened` makes the same promise for them.
"""

import importlib

import numpy as np
import pytest

from tests.cuda.host import host_backend
from vitref.array import NUMPY, HostArray
from vitref.testing import suite, tolerance
from vitref.testing.cases import SPECS
from vitref.testing.problem import Case, problem
from vitref.testing.strategies import cases, for_all, reject
from vitref.testing.structure import arrays
from vitref.testing.subject import Subject
from vitref.testing.tolerance import ROUNDING

SMALLEST = {"float16": 2.0**-25, "bfloat16": 0.0}
"""Half the distance of the smallest numbers: what rounding loses of a number that is nearly zero."""

LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38}

KEEPS_RESULT = ("softmax", "tanh")
"""Their way back starts from the rounded result."""

SHARE = 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("component", [name for name in host_backend().kernels if name in suite.COMPONENTS])
def test_results_are_rounded_once(component: str, dtype: str) -> None:
    regimes = SPECS[component].regimes
    tried = [for_all(cases(component, r, dtype), rounded_once, SHARE, component) for r in regimes]
    assert any(tried)


def rounded_once(case: Case) -> None:
    backend = host_backend()
    kernel = backend.kernels[case.component]
    posed = problem(case, importlib.import_module(f"vitref.components.{case.component}"))
    if kernel.refuses(*posed.args[: posed.inputs], **posed.static):
        reject()
    args, dy, static = posed.exact(posed.args), posed.exact(posed.dy), posed.exact(posed.static)
    y, saved = posed.reference.forward(*args, **static, xp=NUMPY)
    exact = (y, tuple(posed.reference.backward(dy, saved, xp=NUMPY)))
    if max(np.max(np.abs(x), initial=0) for x in arrays(exact)) > LARGEST[case.dtype]:
        reject()
    found = Subject(kernel, backend).passes(posed.args, posed.static, posed.dy, case.layout)
    for place, (mine, true, size) in enumerate(
        zip(*(arrays(each) for each in (found, exact, posed.sizes)), strict=True)
    ):
        _close(mine.astype(np.float64), true, float(size), case, from_result=place > 0)


def _close(found: HostArray, exact: HostArray, size: float, case: Case, from_result: bool) -> None:
    widest = max(1, *(int(np.prod(shape)) for shape in case.arguments.shapes.values() if shape is not None))
    allowed = ROUNDING[case.dtype] * np.abs(exact) + tolerance("float32", widest) * size
    if from_result and case.component in KEEPS_RESULT:
        allowed = allowed + tolerance(case.dtype, widest) * size
    assert np.all(np.abs(found - exact) <= allowed * 1.01 + SMALLEST[case.dtype])
