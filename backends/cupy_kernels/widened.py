"""Reference components on 16-bit arrays: computed in float32, every result rounded once.

Array libraries disagree on what a 16-bit array times a Python number is, and some sum in 16 bits. A
component that has no kernel of its own gets one from here, so that a run in 16 bits stays in 16 bits and
loses no more than the rounding of what it stores.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import Array, Namespace
from vitref.backends.interface import Kernel

SHORT = ("bfloat16", "float16")


def kernel(component: ModuleType) -> Kernel:
    """The component, for 16-bit arrays alone."""
    made: Any = SimpleNamespace(
        __name__=component.__name__,
        PARAMS=component.PARAMS,
        HIDES=(),
        ADDS=False,
        refuses=refuses,
        forward=partial(forward, component),
        backward=partial(backward, component),
    )
    return made  # type: ignore[no-any-return]


def refuses(*inputs: Array, **static: Any) -> str | None:
    dtype = str(inputs[0].dtype)
    return None if dtype in SHORT else f"{dtype}: the reference runs"


def forward(
    component: ModuleType,
    *arrays: Array | None,
    xp: Namespace,
    ws: Any = None,
    keep: bool = True,
    **static: Any,
) -> tuple[Any, Any]:
    short = next(array.dtype for array in arrays if array is not None)
    wide = partial(_widened, xp=xp)
    y, saved = component.forward(*map(wide, arrays), **{name: wide(x) for name, x in static.items()}, xp=xp)
    return _each(partial(_narrowed, dtype=short, xp=xp), y), (saved, short) if keep else None


def backward(
    component: ModuleType, dy: Any, saved: tuple[Any, Any], *, xp: Namespace, ws: Any = None
) -> tuple[Any, ...]:
    of_component, short = saved
    grads = component.backward(_each(partial(_widened, xp=xp), dy), of_component, xp=xp)
    return tuple(_narrowed(gradient, dtype=short, xp=xp) for gradient in grads)


def _each(function: Callable[[Any], Any], values: Any) -> Any:
    """Of one array, or of several."""
    return tuple(map(function, values)) if isinstance(values, tuple) else function(values)


def _widened(value: Any, *, xp: Namespace) -> Any:
    """A 16-bit array as float32; anything else as it is."""
    if str(getattr(value, "dtype", "")) in SHORT:
        return xp.astype(value, np.dtype("float32"))
    return value


def _narrowed(value: Any, *, dtype: Any, xp: Namespace) -> Any:
    return None if value is None else xp.astype(value, dtype)
