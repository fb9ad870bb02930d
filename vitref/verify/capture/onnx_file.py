"""Capture of an ONNX file: the results of all its nodes, computed by ONNX Runtime."""

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError, ImageError
from vitref.verify.capture import onnx_graph, onnx_names
from vitref.verify.capture.hosts import image_of, is_float
from vitref.verify.capture.imported import library
from vitref.verify.capture.naming import Change
from vitref.verify.capture.sink import Captured, Progress, Sink, finished, opened
from vitref.verify.steps import table
from vitref.weights.files import StrPath, path_text

LEVELS = ("off", "basic", "extended", "all")
"""Of optimisation, as ONNX Runtime has them."""

LAYOUTS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
"""Of the graph's image -> the axes of vitref's image in that order."""

AT_ONCE = 2**26
"""Numbers of intermediate results that one run returns; more are computed by several runs."""


def onnx(
    path: StrPath,
    image: Any,
    *,
    config: Config | None = None,
    out: StrPath | None = None,
    only: Iterable[str] | None = None,
    optimisation: str = "off",
    input: str | None = None,
    layout: str = "NCHW",
    provider: str = "CPUExecutionProvider",
    progress: Progress | None = None,
) -> Captured:
    """What the nodes of an ONNX graph return, in floats.

    image         (C, H, W) or (N, C, H, W), floats: cast to the dtype of the graph's input
    config        of the reference: with it, the values that are taps by their place in the graph or by
                  their name are stored as taps, and the others left out; without it, or where nothing is
                  recognised, every value under the name that the graph has
    out           a .safetensors file to write instead of keeping the arrays in memory
    only          the graph's names of values to keep, under these names
    optimisation  "off" (each node is computed as it stands), "basic", "extended" or "all": nodes that
                  ONNX Runtime then fuses are seen as one, under the name of the last
    input, layout name of the graph's input, where it has several; "NHWC" where its channels come last
    provider      an execution provider of ONNX Runtime

    The graph's only output is stored as `logits`, or as `head_input` for a model without classifier, and
    the image that the graph saw as `input.image`, (N, C, H, W). An ONNX graph has no backward pass. Raises
    CheckpointError, ConfigError, ImageError, or BackendError without onnx and onnxruntime.
    """
    libraries = _Libraries(library("onnx"), library("onnxruntime"), provider)
    where, chosen = path_text(path), None if only is None else list(only)
    _check(optimisation, LEVELS, "optimisation")
    _check(layout, tuple(LAYOUTS), "layout")
    model = onnx_graph.read(libraries.onnx, where)
    entry = onnx_graph.image_input(model, input, where)
    pixels = _image(image, entry, layout, where)
    finals = sorted(value.name for value in model.graph.output)
    with opened(out) as sink, _optimised(libraries, where, optimisation) as graph:
        sink.put("input.image", pixels)
        model = onnx_graph.read(libraries.onnx, graph)
        found = _wanted(libraries.onnx, model, chosen)
        stored, left_out = onnx_names.stored(model, found, config if chosen is None else None)
        shapes = table(config, len(pixels)).shapes if config is not None and chosen is None else {}
        feed = {entry.name: np.ascontiguousarray(pixels.transpose(LAYOUTS[layout]))}
        for names in onnx_graph.groups([result for result in found if result.name in stored], AT_ONCE):
            values = _values(libraries, onnx_graph.exposed(libraries.onnx, model, names), feed, names, graph)
            left_out |= _put(sink, values, stored, shapes, progress)
        about: dict[str, Any] = {"source": "onnx", **libraries.versions, "model": where, "provider": provider}
        about |= {"optimisation": optimisation, "dtypes": [entry.dtype], "outputs": finals}
        return finished(sink, out, {**about, "left_out": left_out})


class _Libraries(NamedTuple):
    """What reads a graph, what runs it, and on what."""

    onnx: Any
    runtime: Any
    provider: str

    @property
    def versions(self) -> dict[str, str]:
        return {"onnx": self.onnx.__version__, "onnxruntime": self.runtime.__version__}


def _wanted(onnx: Any, model: Any, chosen: list[str] | None) -> list[onnx_graph.Result]:
    if chosen is None:
        return onnx_graph.results(onnx, model)
    return [onnx_graph.Result(name, 0) for name in chosen]


def _check(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise ConfigError(
            what,
            found=repr(value),
            expected=f"one of {', '.join(allowed)}",
            remedy="Give one of these.",
        )


def _image(image: Any, entry: onnx_graph.Input, layout: str, where: str) -> HostArray:
    """The image in the dtype of the graph's input, batch axis included, (N, C, H, W)."""
    array = image_of(image)
    given = tuple(array.shape[axis] for axis in LAYOUTS[layout])
    if any(wanted not in (None, found) for wanted, found in zip(entry.shape, given, strict=True)):
        shown = " x ".join("any" if length is None else str(length) for length in entry.shape)
        raise ImageError(
            f"{where}: input {entry.name}",
            found=f"an image of {' x '.join(map(str, given))} ({layout})",
            expected=f"{shown}, as the graph takes",
            remedy=_remedy(entry, array.shape, layout),
        )
    return array.astype(ml_dtypes.bfloat16 if entry.dtype == "bfloat16" else entry.dtype)


def _remedy(entry: onnx_graph.Input, shape: tuple[int, ...], layout: str) -> str:
    other = next(name for name in LAYOUTS if name != layout)
    turned = tuple(shape[axis] for axis in LAYOUTS[other])
    if all(wanted in (None, found) for wanted, found in zip(entry.shape, turned, strict=True)):
        return f'Give layout="{other}" (--layout {other}).'
    if entry.shape[0] not in (None, shape[0]):
        return "Record the reference for as many images as the graph takes, or export it for any number."
    return "Record the reference at the size that the graph was exported for, or export it again."


@contextmanager
def _optimised(libraries: _Libraries, path: str, level: str) -> Iterator[str]:
    """The graph's file; optimised, it is a new one that lasts as long as the block."""
    if level == "off":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vitref-") as folder:
        options = _options(libraries.runtime, level)
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        key = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{key}file_name", "optimised.bin")
        options.add_session_config_entry(f"{key}min_size_in_bytes", "1024")
        with _refused(path):
            libraries.runtime.InferenceSession(path, options, providers=[libraries.provider])
        yield options.optimized_model_filepath


def _options(runtime: Any, level: str) -> Any:
    options = runtime.SessionOptions()
    names = {"off": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED"}
    chosen = names.get(level, "ENABLE_ALL")
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_{chosen}")
    options.log_severity_level = 3
    return options


def _values(
    libraries: _Libraries, model: Any, feed: dict[str, HostArray], names: list[str], path: str
) -> list[tuple[str, HostArray]]:
    """(name, array) of the model's outputs, each node computed as it stands."""
    options = _options(libraries.runtime, "off")
    folder = str(Path(path).resolve().parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    with _refused(path):
        session = libraries.runtime.InferenceSession(
            model.SerializeToString(), options, providers=[libraries.provider]
        )
        values = session.run(names, feed)
    return [(name, value) for name, value in zip(names, values, strict=True) if isinstance(value, np.ndarray)]


def _put(
    sink: Sink,
    found: Iterable[tuple[str, HostArray]],
    stored: Mapping[str, Change],
    shapes: Mapping[str, tuple[int, ...]],
    progress: Progress | None,
) -> dict[str, str]:
    """Store what is of floats and, as a tap, of the tap's shape. Returns what is left out: name -> why."""
    left_out = {}
    for name, array in found:
        tap = stored[name].tap
        fitted = _fitted(stored[name](array), shapes.get(tap))
        if not is_float(array) or fitted is None:
            left_out[name] = f"of dtype {array.dtype} and shape {array.shape}"
            continue
        sink.put(tap, fitted)
        if progress:
            progress(tap)
    return left_out


def _fitted(array: HostArray, shape: tuple[int, ...] | None) -> HostArray | None:
    """The array in the tap's shape where an optimiser merely split its last axis; else None."""
    if shape is None or array.shape == shape:
        return array
    same = array.size == math.prod(shape) and array.shape[:2] == shape[:2] and array.ndim > len(shape)
    return array.reshape(shape) if same else None


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """What ONNX Runtime raises, as CheckpointError."""
    try:
        yield
    except Exception as error:  # it has no common class
        raise CheckpointError(
            path,
            found=f"a graph that ONNX Runtime refuses ({str(error).splitlines()[0]})",
            expected="a model that it runs",
            remedy="Check that onnxruntime runs the file, with the weights beside it.",
        ) from None
