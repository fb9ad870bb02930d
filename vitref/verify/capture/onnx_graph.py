"""An ONNX graph whose intermediate results are made outputs: no new export, no change of what is computed.

The graph alone is read; weights in files beside it stay there. A graph above two gigabytes cannot be one
file (protobuf), so that its weights always lie beside it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vitref.errors import CheckpointError, ConfigError

LIMIT = 2**31 - 1
"""Bytes that one protobuf message can have."""

_FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
"""TensorProto.DataType -> dtype, of floats."""

_BLOCKED, _UNBLOCKED = "com.microsoft.nchwc", "ReorderOutput"
"""Domain of ONNX Runtime's convolutions whose results have channels in blocks, and what undoes the blocks."""


class Input(NamedTuple):
    """The graph's input for the image; an axis of any length is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Result(NamedTuple):
    """What a node returns; `floats` is how many numbers it has, where the graph tells, else 0."""

    name: str
    floats: int


def read(onnx: Any, path: str) -> Any:
    """The model without external weights. Raises CheckpointError for what is not an ONNX file."""
    try:
        if not os.path.isfile(path):
            raise OSError("there is no such file")
        if os.path.getsize(path) > LIMIT:
            raise OSError(f"{os.path.getsize(path):,} bytes in one file, and protobuf reads {LIMIT:,}")
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise ValueError("no nodes")
    except Exception as error:  # protobuf raises its own
        raise CheckpointError(
            path,
            found=f"what cannot be read ({error})",
            expected="an ONNX model; above 2 GB with its weights in files beside it",
            remedy="Export the model again, with external data if it is large.",
        ) from None
    return model


def image_input(model: Any, name: str | None, where: str) -> Input:
    """The input called `name`, or the only one. Raises ConfigError unless it takes floats of rank 4."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    if name not in inputs and (name is not None or len(inputs) != 1):
        raise ConfigError(
            f"{where}: input",
            found=f"no input called {name}" if name else f"{len(inputs)} inputs",
            expected=f"the one for the image, of {', '.join(inputs)}",
            remedy="Name it with input= (--input NAME); a graph with further inputs cannot be captured."
            if name is None
            else "Correct the name.",
        )
    value = inputs[name] if name else next(iter(inputs.values()))
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    if kind.elem_type not in _FLOATS or len(shape) != 4 or len(inputs) != 1:
        others = [other for other in inputs if other != value.name]
        raise ConfigError(
            f"{where}: input {value.name}",
            found=f"type {kind.elem_type} of rank {len(shape)}" + (f", beside {others}" if others else ""),
            expected="floats (N, C, H, W), and no other input",
            remedy="Export the model from the preprocessed image on, with the image alone as input.",
        )
    return Input(value.name, _FLOATS[kind.elem_type], shape)


def results(onnx: Any, model: Any) -> list[Result]:
    """What the nodes return, in their order, without what is no float as far as known, or lies in blocks."""
    known = _sizes(onnx, model)
    return [
        Result(name, known.get(name, 0))
        for node in model.graph.node
        if node.op_type not in ("Constant", "Shape")
        and (node.domain != _BLOCKED or node.op_type == _UNBLOCKED)
        for name in node.output
        if name and known.get(name, 0) >= 0
    ]


def exposed(onnx: Any, model: Any, names: Iterable[str]) -> Any:
    """A copy of the model with these results as its only outputs. Raises ConfigError for an unknown name."""
    made = {name for node in model.graph.node for name in node.output}
    wanted = list(names)
    unknown = [name for name in wanted if name not in made]
    if unknown:
        raise ConfigError(
            "only",
            found=f"{', '.join(unknown[:3])}",
            expected="names of results of the graph's nodes",
            remedy="Correct the names; a capture without only= lists them all.",
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    types = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    del copy.graph.output[:]
    copy.graph.output.extend(types.get(name) or onnx.ValueInfoProto(name=name) for name in wanted)
    return copy


def groups(found: Iterable[Result], limit: int) -> Iterator[list[str]]:
    """Names of results, so many at a time that they have no more than `limit` numbers."""
    group: list[str] = []
    total = 0
    for result in found:
        if group and total + result.floats > limit:
            yield group
            group, total = [], 0
        group.append(result.name)
        total += result.floats
    if group:
        yield group


def _sizes(onnx: Any, model: Any) -> Mapping[str, int]:
    """Name -> how many floats it has as far as known, 0 where nothing is; -1 for another type."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # a custom operator: the graph runs all the same
        inferred = model
    found = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        count = 1
        for axis in kind.shape.dim:
            count *= max(1, axis.dim_value)
        floats = kind.elem_type in _FLOATS or not kind.elem_type
        found[value.name] = (count if kind.elem_type else 0) if floats else -1
    return found
