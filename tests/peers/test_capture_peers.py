"""Capture of the models of timm, transformers and torchvision: every captured tap is vitref's own.

Runs in this interpreter, which must have torch and these libraries; ONNX exports need onnx and onnxruntime.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.testing.tolerance import tolerance
from vitref.verify import capture
from vitref.verify.candidate import gradients, open_candidate
from vitref.weights import Weights

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

LABELS = np.array([1, 3])
FORCED_TO_FLOAT32 = 1e-6
"""Relative; the eager softmax of transformers is computed in float32 whatever the model's dtype."""

FACTS: dict[str, Any] = {
    "image_size": (16, 16),
    "patch_size": (8, 8),
    "channels": 3,
    "width": 24,
    "depth": 2,
    "heads": 3,
    "head_dim": 8,
    "mlp_width": 48,
    "classes": 5,
    "eps": 1e-6,
    "activation": "gelu",
    "pool": "token",
    "qkv_bias": True,
    "position_grid": (2, 2),
}

BLOCK = {"", ".norm1", ".attn.q", ".attn.k", ".attn.v", ".attn", ".add1", ".norm2", ".mlp.fc1", ".mlp.act"}
BLOCK |= {".mlp.fc2", ".mlp"}
FUSED, EAGER = {".attn.context"}, {".attn.context", ".attn.scores", ".attn.softmax"}
OUTER = {"patch_embed.proj", "embed", "norm", "head_input", "head", "logits", "image"}


def timm(fused: bool, **facts: Any) -> tuple[Any, Config]:
    library, layers = (
        pytest.importorskip("timm.models.vision_transformer"),
        pytest.importorskip("timm.layers"),
    )
    config = Config(**{**FACTS, "image_size": (16, 24), "position_grid": (2, 3), **facts})
    layers.set_fused_attn(fused)
    model = library.VisionTransformer(
        img_size=config.image_size,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        mlp_ratio=2,
        num_classes=5,
        init_values=0.3 if config.layer_scale else None,
        global_pool="avg" if config.pool == "mean" else "token",
    )
    layers.set_fused_attn(True)
    return model, config


def huggingface(attention: str) -> tuple[Any, Config]:
    library = pytest.importorskip("transformers")
    settings = library.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=16,
        patch_size=8,
        num_labels=5,
        layer_norm_eps=1e-6,
        attn_implementation=attention,
    )
    return library.ViTForImageClassification(settings), Config(**FACTS)


def torchvision() -> tuple[Any, Config]:
    library = pytest.importorskip("torchvision.models.vision_transformer")
    model = library.VisionTransformer(
        image_size=16,
        patch_size=8,
        num_layers=2,
        num_heads=3,
        hidden_dim=24,
        mlp_dim=48,
        num_classes=5,
    )
    return model, Config(**FACTS)


CASES: dict[str, tuple[Callable[[], tuple[Any, Config]], set[str], float]] = {
    "timm": (lambda: timm(True), FUSED | {".attn.qkv", ".attn.merge", ".attn.proj"}, 0),
    "timm eager": (lambda: timm(False), EAGER | {".attn.qkv", ".attn.merge", ".attn.proj"}, 0),
    "timm scaled": (lambda: timm(True, layer_scale=True), {".ls1", ".ls2", ".attn.merge"}, 0),
    "timm pooled": (lambda: timm(True, pool="mean", final_norm="pooled"), FUSED, 0),
    "huggingface": (lambda: huggingface("sdpa"), FUSED | {".attn.merge", ".attn.proj"}, 0),
    "huggingface eager": (lambda: huggingface("eager"), EAGER | {".attn.merge"}, FORCED_TO_FLOAT32),
    "torchvision": (torchvision, FUSED, 0),
}
"""Model -> how it is built, taps of a block beside `BLOCK`, and a bound where float64 is not kept."""


def built(name: str) -> tuple[Any, Weights, HostArray]:
    """The model in float64 with random parameters, the same as Weights, and an image."""
    torch: Any = pytest.importorskip("torch")
    torch.manual_seed(0)
    model, config = CASES[name][0]()
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    theirs = {key: value.detach().numpy() for key, value in model.named_parameters()}
    naming = max(gradients.namings(config), key=lambda n: len(n.dotted.keys() & theirs.keys()))
    tensors = {}
    for ours, parts in naming.names.items():
        made = naming.to_canonical({part: theirs[part] for part in parts})
        tensors[ours] = np.array(made.get(ours, theirs[parts[0]]))
    pixels = np.random.default_rng(1).standard_normal((2, 3, *config.image_size)).astype(np.float32)
    return model, Weights(tensors, config), pixels.astype(np.float64)


def errors(found: capture.Captured, reference: vitref.recording.Recording) -> dict[str, float]:
    """Tap -> largest error, relative to the largest number."""
    taps = [name for name in found if not name.startswith("input.")]
    shapes = {name: found[name].shape for name in taps if found[name].shape != reference[name].shape}
    assert shapes == {}
    return {
        name: float(np.abs(found[name] - reference[name]).max() / np.abs(reference[name]).max())
        for name in taps
    }


def expected_taps(config: Config, block: set[str]) -> set[str]:
    outer = OUTER - ({"norm"} if config.final_norm == "pooled" else set())
    taps = outer | {f"blocks.{i}{step}" for i in range(2) for step in BLOCK | block}
    taps |= {f"{tap}:dy" for tap in taps} | {f"{name}:grad" for name in config.parameter_shapes()}
    return taps | {"loss"}


@pytest.mark.parametrize("name", CASES)
def test_every_tap(name: str, tmp_path: Path) -> None:
    model, weights, image = built(name)
    reference = vitref.trace(weights, image, LABELS)
    out = tmp_path / "captured.safetensors"
    found = capture.torch_module(model, image, LABELS, config=weights.config, out=out)
    bound = CASES[name][2] or tolerance("float64", 10_000)
    assert {tap: error for tap, error in errors(found, reference).items() if not error < bound} == {}
    assert expected_taps(weights.config, CASES[name][1]) - set(found) == set()
    shapes = {tap: reference[tap].shape for tap in reference}
    candidate = open_candidate(out, expected=shapes, config=weights.config)
    assert set(candidate) == {tap for tap in found if not tap.startswith("input.")}


def test_names_of_timm_are_read_as_they_are(tmp_path: Path) -> None:
    model, weights, image = built("timm eager")
    out = tmp_path / "captured.safetensors"
    found = capture.torch_module(model, image, out=out)
    assert found.about["library"] is None
    shapes = {tap: array.shape for tap, array in vitref.trace(weights, image).items()}
    candidate = open_candidate(out, expected=shapes, config=weights.config)
    assert {"embed", "blocks.0.attn.softmax", "blocks.1.mlp.fc1", "logits"} <= set(candidate)


def test_inside_another_module() -> None:
    model, weights, image = built("timm")
    torch: Any = pytest.importorskip("torch")

    class Wrapper(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: Any) -> Any:
            return self.net(x)

    found = capture.torch_module(Wrapper().eval(), image, LABELS, config=weights.config)
    wrong = errors(found, vitref.trace(weights, image, LABELS))
    assert max(wrong.values()) < tolerance("float64", 10_000)
    assert expected_taps(weights.config, FUSED) - set(found) == set()


def test_compiled_module_is_refused() -> None:
    model, _, image = built("torchvision")
    with pytest.raises(ConfigError, match="_orig_mod"):
        capture.torch_module(pytest.importorskip("torch").compile(model), image)


@pytest.mark.parametrize("level", ["off", "basic", "extended", "all"])
@pytest.mark.parametrize("name", ["timm eager", "timm", "huggingface eager", "torchvision"])
def test_onnx_export(name: str, level: str, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, weights, image = built(name)
    path = tmp_path / "model.onnx"
    pixels = torch.from_numpy(image).float()
    torch.onnx.export(logits_only(model.float()), (pixels,), str(path), opset_version=17, dynamo=False)
    found = capture.onnx(path, image, config=weights.config, optimisation=level)
    wrong = errors(found, vitref.trace(weights, image))
    assert {tap: error for tap, error in wrong.items() if not error < tolerance("float32", 1000)} == {}
    assert {"embed", "blocks.0", "blocks.1.add1", "blocks.1.norm2", "norm", "logits"} <= set(found)
    assert {f"blocks.{i}.attn.{step}" for i in range(2) for step in ("scores", "softmax", "context")} <= set(
        found
    )


def logits_only(model: Any) -> Any:
    """The model with its logits as its only output."""
    torch: Any = pytest.importorskip("torch")

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: Any) -> Any:
            y = self.net(x)
            return getattr(y, "logits", y)

    return Logits().eval()
