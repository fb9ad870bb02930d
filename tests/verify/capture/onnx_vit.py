"""The Vision Transformer of `plain_vit` as an ONNX graph, written node by node; for tests of the capture."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.verify.capture.plain_vit import CONFIG, weights
from vitref.array import HostArray


class Builder:
    """Nodes and constants of a graph; values are named v1, v2, ... in the order in which they are made."""

    def __init__(self, onnx: Any, dtype: str) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values = {name: np.asarray(array).astype(dtype) for name, array in weights().items()}

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes) + 1}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def shaped(self, x: str, *shape: int) -> str:
        return str(self.node("Reshape", x, self.constant(np.array(shape, np.int64))))

    def moved(self, x: str, *axes: int) -> str:
        return str(self.node("Transpose", x, perm=axes))

    def linear(self, x: str, name: str) -> str:
        y = self.node("MatMul", x, self.constant(self.values[f"{name}.weight"].T))
        return str(self.node("Add", y, self.constant(self.values[f"{name}.bias"])))

    def norm(self, x: str, name: str) -> str:
        parts = (self.constant(self.values[f"{name}.{part}"]) for part in ("weight", "bias"))
        return str(self.node("LayerNormalization", x, *parts, axis=-1, epsilon=CONFIG.eps))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, self.dtype))

    def attention(self, x: str, name: str) -> str:
        heads, d = CONFIG.heads, CONFIG.head_dim
        y = self.moved(self.shaped(self.linear(x, f"{name}.qkv"), 0, 0, 3, heads, d), 2, 0, 3, 1, 4)
        parts = self.node("Split", y, outputs=3, axis=0, num_outputs=3)
        axis = self.constant(np.array([0], np.int64))
        q, k, v = (self.node("Squeeze", part, axis) for part in parts)
        scores = self.node("MatMul", self.node("Mul", q, self.number(d**-0.5)), self.moved(k, 0, 1, 3, 2))
        y = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        return self.linear(self.shaped(self.moved(y, 0, 2, 1, 3), 0, 0, CONFIG.width), f"{name}.proj")

    def mlp(self, x: str, name: str) -> str:
        x = self.linear(x, f"{name}.fc1")
        y = self.node("Erf", self.node("Mul", x, self.number(2**-0.5)))
        y = self.node("Mul", self.node("Mul", x, self.number(0.5)), self.node("Add", y, self.number(1)))
        return self.linear(y, f"{name}.fc2")

    def embedding(self, image: str) -> str:
        parts = (self.constant(self.values[f"patch_embed.proj.{part}"]) for part in ("weight", "bias"))
        patch = CONFIG.patch_size
        x = self.node("Conv", image, *parts, kernel_shape=patch, strides=patch)
        x = self.moved(self.shaped(x, 0, CONFIG.width, -1), 0, 2, 1)
        token = np.broadcast_to(self.values["cls_token"], (2, 1, CONFIG.width))
        x = self.node("Concat", self.constant(token), x, axis=1)
        return str(self.node("Add", x, self.constant(self.values["pos_embed"])))

    def logits(self, image: str) -> str:
        x = self.embedding(image)
        for i in range(CONFIG.depth):
            name = f"blocks.{i}"
            x = self.node("Add", x, self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attn"))
            x = self.node("Add", x, self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp"))
        x = self.norm(x, "norm")
        return self.linear(self.node("Gather", x, self.constant(np.array(0)), axis=1), "head")


def write(
    onnx: Any, path: Path, *, dtype: str = "float32", last: bool = False, external: bool = False
) -> Path:
    """Write the model for two images; `last`: channels come last in its input."""
    builder, helper = Builder(onnx, dtype), onnx.helper
    start = builder.moved("pixels", 0, 3, 1, 2) if last else "pixels"
    result = builder.logits(start)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    (rows, columns), channels = CONFIG.image_size, CONFIG.channels
    shape = (2, rows, columns, channels) if last else (2, channels, rows, columns)
    graph = helper.make_graph(
        builder.nodes,
        "vit",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info(result, kind, (2, CONFIG.classes))],
        builder.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path), save_as_external_data=external, size_threshold=256, location="weights.bin")
    return path


def image() -> HostArray:
    """Two images, whose numbers float16 holds."""
    shape = (2, CONFIG.channels, *CONFIG.image_size)
    return np.random.default_rng(4).standard_normal(shape).astype(np.float16).astype(np.float64)
