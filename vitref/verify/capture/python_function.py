"""Capture of a Python function that returns arrays: a model in any library, its taps named by its author."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.capture import imported, objective
from vitref.verify.capture.hosts import from_any, image_of, is_float
from vitref.verify.capture.naming import final_tap
from vitref.verify.capture.sink import Captured, Progress, finished, opened
from vitref.weights.files import StrPath


def callable(
    function: Callable[..., Any] | str,
    image: Any,
    labels: Any = None,
    cotangent: Any = None,
    *,
    config: Config | None = None,
    out: StrPath | None = None,
    progress: Progress | None = None,
) -> Captured:
    """What a Python function returns for an image: its final output, or name -> array.

    function   called with the image, (N, C, H, W) in the dtype in which it is given, and with `labels=` or
               `cotangent=` where these are given and it has such an argument; or its name,
               "package.module:function" or "file.py:function"
    labels     integers (N,) or probabilities (N, classes)
    cotangent  an array for the final output, or {tap: array}, which is how the function receives it
    config     of the reference: says what an array that is returned alone is

    Arrays may be NumPy's, torch's, JAX's, CuPy's, or of what has `__array__` or `__dlpack__`; they keep their
    dtype. Names are those of taps, of a known library, or of a map given to `vitref compare`:
    "blocks.0.norm1", "blocks.0.norm1:dy", "head.weight:grad". Raises ConfigError when the function raises,
    or returns something else.
    """
    where = function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
    called = imported.named(function, "--python") if isinstance(function, str) else function
    pixels, aim = image_of(image), objective.asked(labels, cotangent, config)
    extra = {"labels": aim.labels, "cotangent": aim.cotangents or None}
    with opened(out) as sink:
        for name, array in {"image": pixels, **aim.inputs}.items():
            sink.put(f"input.{name}", array)
        with imported.users_code(where, "a function of the image that returns arrays"):
            taken = {
                name: value for name, value in extra.items() if value is not None and _takes(called, name)
            }
            returned = called(pixels, **taken)
        for name, array in _arrays(returned, where, config).items():
            sink.put(name, array)
            if progress:
                progress(name)
        return finished(sink, out, {"source": "python", "model": where, "left_out": {}})


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has an argument of this name; not where its signature is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == name or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _arrays(returned: Any, where: str, config: Config | None) -> dict[str, HostArray]:
    """Name -> array of what the function returned. Raises ConfigError for anything else."""
    named = returned if isinstance(returned, Mapping) else {final_tap(config): returned}
    if not named or not all(isinstance(name, str) and name for name in named):
        raise ConfigError(
            where,
            found=f"a mapping with the keys {list(named)[:3]!r}",
            expected="an array, or name -> array",
            remedy="Return the final output, or a dict of arrays by the names of their taps.",
        )
    arrays = {name: from_any(f"{where}: {name}", array) for name, array in named.items()}
    for name, array in arrays.items():
        if not is_float(array):
            raise ConfigError(
                f"{where}: {name}",
                found=f"dtype {array.dtype}",
                expected="floats",
                remedy="Return the values that the model computes with, and no indices.",
            )
    return arrays
