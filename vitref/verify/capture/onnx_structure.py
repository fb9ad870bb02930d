"""Which values of an ONNX graph are taps, read off the graph itself: exporters and optimisers rename freely.

The layer normalisations stand in a known order; what enters them is the residual stream; from each one the
linear layers, softmax and activation follow as in the block. What cannot be told for certain is left out.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from vitref.config import Config

NORMS = ("LayerNormalization", "SkipLayerNormalization")
PRODUCTS = ("MatMul", "Gemm")
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Dropout")
"""Operators that move numbers, and compute none."""

NEAR = 24
"""Nodes between two linear layers, at most: GELU written out has ten."""


class Graph:
    """Who makes a value, who uses it, and which values are constants."""

    def __init__(self, model: Any) -> None:
        self.nodes = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[Any]] = defaultdict(list)
        self.constants = {tensor.name for tensor in model.graph.initializer} | {""}
        self.outputs = {value.name for value in model.graph.output}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.users[name].append(node)
            if all(name in self.constants for name in node.input):
                self.constants.update(node.output)

    def of_kind(self, *kinds: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type in kinds]

    def is_linear(self, node: Any) -> bool:
        return (
            node.op_type in PRODUCTS
            and node.input[0] not in self.constants
            and node.input[1] in self.constants
        )

    def reached(self, value: str) -> Iterator[Any]:
        """The nodes behind a value, nearest first, not beyond linear layers and normalisations."""
        waiting = [value]
        seen: set[str] = set()
        while waiting and len(seen) < NEAR:
            for node in self.users[waiting.pop(0)]:
                if node.output[0] not in seen:
                    seen.add(node.output[0])
                    yield node
                    if not self.is_linear(node) and node.op_type not in NORMS:
                        waiting.append(node.output[0])

    def linears(self, value: str) -> list[Any]:
        """The linear layers that follow a value directly."""
        found = []
        for node in self.users[value]:
            if self.is_linear(node) and node.input[0] == value:
                found.append(node)
            elif node.op_type in MOVES:
                found += [after for after in self.users[node.output[0]] if self.is_linear(after)]
        return found

    def next_linear(self, value: str) -> Any:
        """The first linear layer behind a value, other operators in between; None where there is none."""
        return next((node for node in self.reached(value) if self.is_linear(node)), None)

    def result(self, node: Any, *, biased: bool = True) -> str | None:
        """The value of a linear layer with its bias, in the shape in which it goes on; None where fused."""
        value = str(node.output[0])
        if node.op_type == "MatMul" and biased:
            adds = [add for add in self.users[value] if add.op_type == "Add" and self._adds_constant(add)]
            if len(self.users[value]) != 1 or not adds:
                return None
            value = str(adds[0].output[0])
        reshapes = [after for after in self.users[value] if after.op_type == "Reshape"]
        wrapped = node.op_type == "Gemm" and len(self.users[value]) == 1 and reshapes
        return str(reshapes[0].output[0]) if wrapped else value

    def _adds_constant(self, add: Any) -> bool:
        return any(name in self.constants for name in add.input)


def taps_of(model: Any, config: Config) -> dict[str, str]:
    """Value -> tap by its place in the graph; {} for a graph that is not built as this model is."""
    graph = Graph(model)
    norms = graph.of_kind(*NORMS)
    if len(norms) != 2 * config.depth + 1:
        return {}
    found: dict[str, str] = {}
    streams = [_stream(node) for node in norms]
    for i in range(config.depth):
        block, norm1, norm2 = f"blocks.{i}", norms[2 * i], norms[2 * i + 1]
        found |= _named({streams[2 * i]: f"blocks.{i - 1}" if i else "embed"})
        found |= _named({norm1.output[0]: f"{block}.norm1", norm2.output[0]: f"{block}.norm2"})
        found |= _named({streams[2 * i + 1]: f"{block}.add1"})
        found |= _qkv(graph, norm1.output[0], f"{block}.attn", config)
        found |= _mlp(graph, norm2.output[0], f"{block}.mlp")
    final = "norm" if config.final_norm == "tokens" else "fc_norm"
    found |= _named({norms[-1].output[0]: final})
    if config.final_norm == "tokens":
        found |= _named({streams[-1]: f"blocks.{config.depth - 1}"})
    return found | _attentions(graph, config)


def _stream(norm: Any) -> str | None:
    """What a layer normalisation normalises: its input, or the sum that it makes itself."""
    if norm.op_type == "LayerNormalization":
        return str(norm.input[0])
    return str(norm.output[3]) if len(norm.output) > 3 and norm.output[3] else None


def _named(found: dict[str | None, str]) -> dict[str, str]:
    return {value: tap for value, tap in found.items() if value}


def _qkv(graph: Graph, value: str, path: str, config: Config) -> dict[str, str]:
    nodes = graph.linears(value)
    if len(nodes) != 1:
        return {}
    return _named({graph.result(nodes[0], biased=config.qkv_bias): f"{path}.qkv"})


def _mlp(graph: Graph, value: str, path: str) -> dict[str, str]:
    nodes = graph.linears(value)
    fc1 = graph.result(nodes[0]) if len(nodes) == 1 else None
    after = graph.next_linear(nodes[0].output[0]) if len(nodes) == 1 else None
    found = {fc1: f"{path}.fc1"}
    if after is not None:
        found |= {_before(graph, after): f"{path}.act", graph.result(after): f"{path}.fc2"}
    return _named(found)


def _before(graph: Graph, linear: Any) -> str:
    """What enters a linear layer, before it was flattened for a Gemm."""
    value = str(linear.input[0])
    maker = graph.makers.get(value)
    if linear.op_type == "Gemm" and maker is not None and maker.op_type == "Reshape":
        return str(maker.input[0])
    return value


def _attentions(graph: Graph, config: Config) -> dict[str, str]:
    """Scores, softmax, values, context, merge and projection of every block."""
    nodes = [n for n in graph.of_kind("Softmax") if n.output[0] not in graph.outputs]
    if len(nodes) != config.depth:
        return {}
    found: dict[str, str] = {}
    for i, node in enumerate(nodes):
        path = f"blocks.{i}.attn"
        found |= {str(node.input[0]): f"{path}.scores", str(node.output[0]): f"{path}.softmax"}
        kinds = ("MatMul", "FusedMatMul")
        products = [after for after in graph.reached(node.output[0]) if after.op_type in kinds]
        if products and not graph.is_linear(products[0]):
            found |= _merged(graph, products[0], path)
    return found


def _merged(graph: Graph, product: Any, path: str) -> dict[str, str]:
    value = str(product.output[0])
    found: dict[str | None, str] = {value: f"{path}.context"}
    if product.op_type == "MatMul":  # which transposes nothing
        found[str(product.input[1])] = f"{path}.v"
    proj = graph.next_linear(value)
    if proj is not None:
        found |= {_before(graph, proj): f"{path}.merge", graph.result(proj): f"{path}.proj"}
    return _named(found)
