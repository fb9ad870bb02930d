"""Every component has every property of the suite, on NumPy and on the strict array API library.

`array-api-strict` has nothing but what the standard prescribes: what runs there keeps to the closed
vocabulary of `vitref.array`, dtypes and promotion included.
"""

from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest

from vitref import backends
from vitref.array import NUMPY, VOCABULARY, Array, HostArray
from vitref.backends.interface import Backend
from vitref.testing import suite


def from_host(array: HostArray, dtype: str) -> Array:
    return array_api_strict.asarray(array, dtype=getattr(array_api_strict, dtype), copy=True)


def to_host(array: Array) -> HostArray:
    return np.asarray(array)


def erf(x: Array) -> Array:
    return from_host(NUMPY.erf(to_host(x)), str(to_host(x).dtype))


STRICT = Backend(
    name="array-api-strict",
    xp=SimpleNamespace(
        **{name: getattr(array_api_strict, name) for name in VOCABULARY if name != "erf"}, erf=erf
    ),
    from_host=from_host,
    to_host=to_host,
    dtypes=("float32", "float64"),
)


@pytest.mark.parametrize("check", suite.CHECKS)
@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_component_on_numpy(component: str, check: str) -> None:
    suite.verify(component, check, backends.get("numpy"))


@pytest.mark.parametrize("check", suite.CHECKS)
@pytest.mark.parametrize("component", suite.COMPONENTS)
def test_component_on_array_api_strict(component: str, check: str) -> None:
    suite.verify(component, check, STRICT, share=0.3)
