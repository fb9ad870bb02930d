"""Nested values: arrays in tuples, named tuples, lists and dictionaries, taken one by one.

Everything that is not an array (None, names, Python's numbers) passes unchanged.
"""

from collections.abc import Callable, Iterator
from typing import Any


def apply(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """`function` of every array of `value`, with the arrays at the same places of the others.

    >>> import numpy as np
    >>> apply(lambda a, b: a + b, {"x": (np.ones(2), None)}, {"x": (np.array([1.0, 2.0]), None)})
    {'x': (array([2., 3.]), None)}
    """
    if isinstance(value, dict):
        return {key: apply(function, item, *(other[key] for other in others)) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [apply(function, *several) for several in zip(value, *others, strict=True)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return function(value, *others) if is_array(value) else value


def arrays(value: Any) -> Iterator[Any]:
    """The arrays of `value`, in order."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from arrays(item)
    elif is_array(value):
        yield value


def is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
