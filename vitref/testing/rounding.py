"""What rounding can do to a whole model: measured, step by step, by complex step.

Every step of a pass rounds: its result is what a small relative change of its inputs, parameters, saved
values and results would have given, and one of the size of the terms that cancel inside. Kernels that
make such changes, all at once and along the imaginary axis, are put in the place of all primitives; the
imaginary part of an output or a gradient is then its change to first order. An ill-conditioned model (a
LayerNorm of a nearly constant row) so gets the larger bound that it needs, and a gradient that is exactly
zero the size of the terms that cancel.
"""

import importlib
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.run import Part, title
from vitref.testing.cases import SPECS
from vitref.testing.derivative import STEP
from vitref.testing.structure import apply


def moved(result: HostArray) -> HostArray:
    """How much an output or gradient of such a pass has moved, element by element."""
    return np.asarray(result).imag / STEP


def rounding_kernels(rng: np.random.Generator) -> Mapping[str, Part]:
    """Component -> the component with a random change of size 1 of everything that passes through it."""
    return {name: _kernel(importlib.import_module(f"vitref.components.{name}"), rng) for name in SPECS}


def _kernel(part: ModuleType, rng: np.random.Generator) -> Part:
    terms = SPECS[title(part)].absolute

    def change(x: HostArray) -> HostArray:
        return np.asarray(x * (1 + 1j * (STEP * rng.standard_normal(np.shape(x)))))

    def cancelled(x: HostArray, size: float) -> HostArray:
        return np.asarray(x + 1j * (STEP * size * rng.standard_normal(np.shape(x))))

    def forward(*arrays: Any, xp: Any, ws: Any, keep: bool, **static: Any) -> tuple[Any, Any]:
        y, saved = part.forward(*apply(change, arrays), **static, xp=xp)
        y = apply(change, y)
        if terms is not None:
            y = cancelled(y, terms(apply(np.real, arrays), np.zeros(np.shape(y)), static)[0])
        return y, (saved, arrays, static)

    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> tuple[Any, ...]:
        saved, arrays, static = saved
        grads = apply(change, tuple(part.backward(apply(change, dy), apply(change, saved), xp=xp)))
        if terms is not None:
            sizes = terms(apply(np.real, arrays), np.real(dy), static)[1]
            grads = tuple(cancelled(x, size) for x, size in zip(grads, sizes, strict=True))
        return tuple(grads)

    return SimpleNamespace(
        __name__=part.__name__,
        PARAMS=part.PARAMS,
        HIDES=(),
        ADDS=False,
        refuses=lambda *inputs, **static: None,
        forward=forward,
        backward=backward,
    )
