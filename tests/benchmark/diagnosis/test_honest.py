"""Honest programs are honest: as near to the reference as their format allows."""

import numpy as np
import pytest

from vitref import api
from vitref.benchmark.diagnosis import honest, problem

pytest.importorskip("torch")

UNIT = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11, "autocast": 2.0**-8}
ENGINES = [(name, dtype) for name, engine in honest.engines().items() for dtype in engine.formats]


@pytest.mark.parametrize(("name", "dtype"), ENGINES)
def test_near_the_reference(name: str, dtype: str) -> None:
    engine, given = honest.engines()[name], problem.small("token")
    if not engine.is_installed:
        pytest.skip(f"{name} needs {', '.join(engine.needs)}")
    taps = engine.run(given, dtype, False)
    right = api.trace(given.weights, given.image, only=["logits", "blocks.1"])
    for tap in right:
        error = np.linalg.norm(taps[tap].astype(np.float64) - right[tap]) / np.linalg.norm(right[tap])
        assert error < 8 * UNIT[dtype]


def test_transformers_takes_plain_models_alone() -> None:
    assert honest.is_plain(problem.small("token"))
    assert not honest.is_plain(problem.small("mean"))
