"""Capture of ONNX graphs: every value that is a tap equals vitref's, however the graph is stored or fused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from tests.verify.capture import onnx_vit
from tests.verify.capture.plain_vit import CONFIG, weights
from vitref.errors import CheckpointError, ConfigError, ImageError
from vitref.testing.tolerance import tolerance
from vitref.verify import capture
from vitref.verify.capture import onnx_graph, onnx_structure

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = (
    *("norm1", "attn.qkv", "attn.v", "attn.scores", "attn.softmax", "attn.context", "attn.merge"),
    *("attn.proj", "add1", "norm2", "mlp.fc1", "mlp.act", "mlp.fc2"),
)
EVERY = {"patch_embed.proj", "embed", "blocks.0", "blocks.1", "norm", "logits", "input.image"}
EVERY |= {f"blocks.{i}.{step}" for i in range(CONFIG.depth) for step in STEPS}
FUSED = {"blocks.1", "patch_embed.proj"}
"""What an optimiser may leave without a value of its own."""


def check(found: capture.Captured, bound: float) -> None:
    reference = vitref.trace(weights(), onnx_vit.image())
    for name in set(found) - {"input.image"}:
        expected = reference[name]
        assert found[name].shape == expected.shape, name
        error = np.abs(found[name].astype(np.float64) - expected).max() / np.abs(expected).max()
        assert error < bound, name


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("external", [False, True])
def test_every_tap(dtype: str, external: bool, tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx", dtype=dtype, external=external)
    found = capture.onnx(path, onnx_vit.image(), config=CONFIG, out=tmp_path / "captured.safetensors")
    assert set(found) == EVERY
    assert {str(array.dtype) for array in found.values()} == {dtype}
    check(found, tolerance(dtype, 1000))
    assert found.about["dtypes"] == [dtype]


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
@pytest.mark.parametrize("external", [False, True])
def test_optimised(level: str, external: bool, tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx", external=external)
    found = capture.onnx(path, onnx_vit.image(), config=CONFIG, optimisation=level)
    assert EVERY - FUSED <= set(found) <= EVERY
    check(found, tolerance("float32", 1000))


def test_channels_last(tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx", last=True)
    with pytest.raises(ImageError, match="--layout NHWC"):
        capture.onnx(path, onnx_vit.image(), config=CONFIG)
    found = capture.onnx(path, onnx_vit.image(), config=CONFIG, layout="NHWC")
    assert np.array_equal(found["input.image"], onnx_vit.image())
    assert set(found) == EVERY - {"patch_embed.proj"}
    check(found, tolerance("float32", 1000))


def test_own_names(tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx")
    found = capture.onnx(path, onnx_vit.image())
    nodes = {name for node in onnx.load(str(path)).graph.node for name in node.output}
    assert len(set(found) & nodes) == len(nodes) - 1
    assert {"logits", "input.image"} < set(found)
    other = vitref.Config(**{**CONFIG.to_dict(), "depth": 3})
    assert set(capture.onnx(path, onnx_vit.image(), config=other)) == set(found)


def test_chosen_values(tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx")
    assert list(capture.onnx(path, onnx_vit.image(), config=CONFIG, only=["v7"])) == ["input.image", "v7"]
    with pytest.raises(ConfigError, match="nowhere"):
        capture.onnx(path, onnx_vit.image(), only=["nowhere"])


def test_many_values_are_computed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx")
    whole = capture.onnx(path, onnx_vit.image(), config=CONFIG)
    monkeypatch.setattr("vitref.verify.capture.onnx_file.AT_ONCE", 700)
    parts = capture.onnx(path, onnx_vit.image(), config=CONFIG)
    assert {name: a.tobytes() for name, a in parts.items()} == {n: a.tobytes() for n, a in whole.items()}


def test_parts() -> None:
    found = [onnx_graph.Result(name, floats) for name, floats in {"a": 3, "b": 3, "c": 9, "d": 0}.items()]
    assert list(onnx_graph.groups(found, 6)) == [["a", "b"], ["c"], ["d"]]
    assert list(onnx_graph.groups(found, 1)) == [["a"], ["b"], ["c"], ["d"]]


def graph(*nodes: tuple[str, list[str], str]) -> onnx_structure.Graph:
    """A graph of (operator, inputs, output), in which W and b are constants."""
    made = [onnx.helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    constants = [onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in "Wb"]
    return onnx_structure.Graph(onnx.helper.make_model(onnx.helper.make_graph(made, "g", [], [], constants)))


def test_linear_layers() -> None:
    whole = graph(
        ("Cast", ["x"], "y"), ("MatMul", ["y", "W"], "p"), ("Add", ["b", "p"], "z"), ("Gelu", ["z"], "g")
    )
    (linear,) = whole.linears("x")
    assert whole.result(linear) == "z"
    assert whole.result(linear, biased=False) == "p"
    assert whole.next_linear("x") is linear


def test_a_bias_inside_a_fused_operator() -> None:
    fused = graph(("MatMul", ["x", "W"], "p"), ("BiasGelu", ["p", "b"], "g"))
    assert fused.result(fused.linears("x")[0]) is None
    read_twice = graph(("MatMul", ["x", "W"], "p"), ("Add", ["p", "b"], "z"), ("Relu", ["p"], "r"))
    assert read_twice.result(read_twice.linears("x")[0]) is None


def test_wrong_images(tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx")
    with pytest.raises(ImageError, match="as many images as the graph takes"):
        capture.onnx(path, onnx_vit.image()[:1])
    with pytest.raises(ImageError, match="at the size"):
        capture.onnx(path, onnx_vit.image()[..., :6])
    with pytest.raises(ImageError, match="uint8"):
        capture.onnx(path, np.zeros((2, 6, 9, 2), np.uint8))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"optimisation": "most"}, "most"), ({"layout": "CHWN"}, "CHWN"), ({"input": "image"}, "of pixels")],
)
def test_wrong_settings(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx")
    with pytest.raises(ConfigError, match=said):
        capture.onnx(path, onnx_vit.image(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_no_model(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "vit.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"vit\.onnx"):
        capture.onnx(path, onnx_vit.image())


def test_missing_weights(tmp_path: Path) -> None:
    path = onnx_vit.write(onnx, tmp_path / "vit.onnx", external=True)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(CheckpointError, match="ONNX Runtime refuses"):
        capture.onnx(path, onnx_vit.image())


def test_results_with_channels_in_blocks_are_left_out() -> None:
    """ONNX Runtime's own convolution, which optimisation puts in where the channels allow it."""
    blocked = onnx.helper.make_node("Conv", ["x"], ["blocked"], domain="com.microsoft.nchwc")
    plain = onnx.helper.make_node("ReorderOutput", ["blocked"], ["plain"], domain="com.microsoft.nchwc")
    model = onnx.helper.make_model(onnx.helper.make_graph([blocked, plain], "g", [], []))
    assert [result.name for result in onnx_graph.results(onnx, model)] == ["plain"]
