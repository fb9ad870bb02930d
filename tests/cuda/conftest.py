"""Everything here needs g++ and CUDA's headers; without them it is skipped, unless it was asked for."""

import os
from collections.abc import Iterable

import pytest

from tests.cuda.host import unavailable

REQUIRED = "VITREF_REQUIRE_CUDA_CHECKS"
"""An environment variable: with "1" a missing compiler is a failure."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    reason = unavailable()
    if reason is None:
        return
    if os.environ.get(REQUIRED) == "1":
        raise pytest.UsageError(f"{REQUIRED}=1, but {reason}")
    for item in items:
        if "tests/cuda" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=reason))
