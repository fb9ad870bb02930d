"""vitref as a candidate: the public functions, and gradients written into those of the run before."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import vitref
from vitref import api, backends
from vitref.benchmark import own
from vitref.benchmark.case import PASSES, Case, problem
from vitref.benchmark.program import answer
from vitref.weights import Weights

SMALL = Case("ViT-Ti/16", 2, "float32", "backward", image_size=32, depth=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", PASSES)
def test_the_answer_is_that_of_the_public_functions(direction: str, dtype: str) -> None:
    case = SMALL._replace(direction=direction, dtype=dtype)
    given = problem(case)
    program = own.build("numpy")(given, case)
    weights = Weights(given.tensors, given.config)
    if direction == "forward":
        expected = list(vitref.forward(weights, given.image, dtype=dtype).ravel())
    else:
        gradients = vitref.backward(weights, given.image, given.labels, dtype=dtype).weights
        expected = [float(np.linalg.norm(gradients[name].astype("f8"))) for name in sorted(gradients)]
    assert answer(program, program.call()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("keeps_buffers", [False, True])
def test_a_backend_that_keeps_buffers_gets_the_gradients_of_the_run_before(
    keeps_buffers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    real = api.backward

    def backward(*arguments: Any, out: Any, **settings: Any) -> Any:
        given.append(out)
        return real(*arguments, out=out, **settings)

    backend = dataclasses.replace(backends.get("numpy"), empty=np.empty if keeps_buffers else None)
    monkeypatch.setattr(api, "backward", backward)
    monkeypatch.setattr(backends, "get", lambda name: backend)
    program = own.build("numpy")(problem(SMALL), SMALL)
    first = program.call()
    program.call()
    assert given[0] is None
    assert (given[1].weights is first) if keeps_buffers else given[1] is None
