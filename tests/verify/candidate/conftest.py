"""A small model and its trace: what the reference has, for candidates that are made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.array import HostArray
from vitref.config import Config
from vitref.recording import Recording
from vitref.verify.candidate import Candidate, open_candidate
from vitref.weights.container import Weights


@dataclass(frozen=True)
class Case:
    config: Config
    weights: Weights
    trace: Recording

    @property
    def expected(self) -> dict[str, tuple[int, ...]]:
        return {tap: array.shape for tap, array in self.trace.items()}

    def open(self, source: Any, **options: Any) -> Candidate:
        return open_candidate(source, expected=self.expected, config=self.config, **options)

    def gradients(self) -> dict[str, HostArray]:
        """Canonical name -> gradient."""
        return {tap[:-5]: array for tap, array in self.trace.items() if tap.endswith(":grad")}


@pytest.fixture(scope="session")
def case() -> Case:
    config = Config(
        image_size=(8, 12),
        patch_size=(4, 4),
        channels=3,
        width=12,
        depth=2,
        heads=3,
        mlp_width=20,
        classes=5,
        eps=1e-6,
        activation="gelu",
        pool="token",
        qkv_bias=True,
        position_grid=(2, 3),
    )
    weights = vitref.init(config, seed=0)
    rng = np.random.default_rng(0)
    lively = {name: array + 0.3 * rng.standard_normal(array.shape) for name, array in weights.items()}
    weights = weights.replace({name: array.astype(weights[name].dtype) for name, array in lively.items()})
    image = rng.standard_normal((2, 3, 8, 12))
    return Case(config, weights, vitref.trace(weights, image, labels=[1, 2]))


def same(candidate: Mapping[str, HostArray], trace: Mapping[str, HostArray]) -> bool:
    """Whether the candidate's taps are the trace's, bit by bit."""
    return all(np.array_equal(candidate[tap], trace[tap]) for tap in candidate)
