"""Capture of torch modules: equal to vitref's own trace, and nothing is left behind in the module."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import vitref
from tests.verify.capture import plain_vit
from tests.verify.capture.plain_vit import CONFIG, build, image
from vitref.array import HostArray
from vitref.errors import ConfigError, ImageError
from vitref.testing.tolerance import tolerance
from vitref.verify import capture

torch: Any = pytest.importorskip("torch")

LABELS = np.array([1, 3])
BOUND = tolerance("float64", 10_000)


def difference(found: HostArray, expected: HostArray) -> float:
    """The largest error, relative to the largest number."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check(found: capture.Captured, reference: vitref.recording.Recording) -> list[str]:
    """The taps that are in both, all of them equal."""
    both = [name for name in found if name in reference and name != "patch_embed.proj:dy"]
    both.remove("patch_embed.proj")
    wrong = {name: difference(found[name], reference[name]) for name in both}
    assert {name: error for name, error in wrong.items() if not error < BOUND} == {}
    return both


def nothing_is_left(model: Any) -> bool:
    """No hooks on modules or on tensors, no gradients."""
    hooks = [hook for m in model.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)]
    hooks += [hook for p in model.parameters() for hook in (p._backward_hooks or ())]
    return not hooks and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("fused", [False, True])
def test_every_tap_is_vitrefs(fused: bool, tmp_path: Path) -> None:
    model = build(torch, fused=fused)
    reference = vitref.trace(plain_vit.weights(), image(), LABELS)
    in_memory = capture.torch_module(model, image(), LABELS)
    found = capture.torch_module(model, image(), LABELS, out=tmp_path / "captured.safetensors")
    assert {name: a.tobytes() for name, a in found.items()} == {n: a.tobytes() for n, a in in_memory.items()}
    taps = set(check(found, reference))
    inside = ("q", "k", "v", "context") if fused else ("v", "scores", "softmax", "context")
    expected = {f"blocks.1.attn.{step}{end}" for step in inside for end in ("", ":dy")}
    expected |= {f"blocks.0.{step}" for step in ("add1", "attn.merge", "mlp.act", "norm2:dy", "mlp")}
    expected |= {"embed", "embed:dy", "head_input", "logits", "logits:dy", "loss", "image:dy", "blocks.1"}
    assert expected <= taps
    assert {f"{name}:grad" for name in CONFIG.parameter_shapes()} <= taps
    assert nothing_is_left(model)
    assert found["input.labels"].tolist() == LABELS.tolist()


def test_forward_alone() -> None:
    found = capture.torch_module(build(torch), image())
    assert check(found, vitref.trace(plain_vit.weights(), image()))
    assert not any(":" in name for name in found)


def test_layouts_of_known_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(torch)
    monkeypatch.setattr(type(model), "__module__", "timm.models.vision_transformer")
    found = capture.torch_module(model, image(), LABELS, config=CONFIG)
    reference = vitref.trace(plain_vit.weights(), image(), LABELS)
    assert found.about["library"] == "timm"
    for tap in ("patch_embed.proj", "patch_embed.proj:dy"):
        assert difference(found[tap], reference[tap]) < BOUND
    assert set(found) - {"input.image", "input.labels"} <= set(reference)


@pytest.mark.parametrize("outputs", [("logits",), ("tokens", "head_input")])
def test_cotangents(outputs: tuple[str, ...]) -> None:
    shapes = {"logits": (2, 5), "tokens": (2, 7, 12), "head_input": (2, 12)}
    rng = np.random.default_rng(9)
    given = {name: rng.standard_normal(shapes[name]) for name in outputs}
    cotangent = given["logits"] if outputs == ("logits",) else given
    found = capture.torch_module(build(torch), image(), cotangent=cotangent, config=CONFIG)
    reference = vitref.trace(plain_vit.weights(), image(), cotangent=given)
    assert {"embed:dy", "pos_embed:grad"} <= set(check(found, reference))


@pytest.mark.parametrize("labels", [LABELS, np.full((2, 5), 0.25)])
def test_sigmoid_loss(labels: HostArray) -> None:
    found = capture.torch_module(build(torch), image(), labels, loss="sigmoid")
    reference = vitref.trace(plain_vit.weights(), image(), labels, loss="sigmoid")
    assert {"loss", "embed:dy"} <= set(check(found, reference))


def test_given_loss() -> None:
    def loss(output: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(output, labels)

    found = capture.torch_module(build(torch), image(), LABELS, loss=loss)
    assert check(found, vitref.trace(plain_vit.weights(), image(), LABELS))
    assert found.about["loss"] == "given"
    with pytest.raises(ConfigError, match=r"a Tensor of shape \(2,\)"):
        capture.torch_module(
            build(torch),
            image(),
            LABELS,
            loss=lambda y, t: torch.nn.functional.cross_entropy(y, t, reduction="none"),
        )


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)])
def test_dtypes_are_kept(name: str, dtype: Any) -> None:
    model = build(torch).to(getattr(torch, name))
    found = capture.torch_module(model, image(), LABELS)
    assert found["input.image"].dtype == dtype
    assert found["blocks.1.norm1"].dtype == found["blocks.1.norm1:dy"].dtype == dtype
    assert found["head.weight:grad"].dtype == dtype
    assert found["loss"].dtype == np.float32
    exact = vitref.trace(plain_vit.weights(), image())["logits"]
    assert 0 < difference(found["logits"].astype(np.float64), exact) < 0.2


def test_autocast() -> None:
    found = capture.torch_module(build(torch).float(), image(), LABELS, autocast="bfloat16")
    assert found["blocks.0.attn.qkv"].dtype == ml_dtypes.bfloat16
    assert found["blocks.0.norm1"].dtype == np.float32
    assert found["blocks.0.attn.qkv.weight:grad"].dtype == np.float32
    with pytest.raises(ConfigError, match="autocast"):
        capture.torch_module(build(torch), image(), autocast="int8")


def test_own_gradients_are_put_back() -> None:
    model = build(torch)
    model.head.weight.grad = torch.full_like(model.head.weight, 7)
    kept = model.head.weight.grad
    reference = vitref.trace(plain_vit.weights(), image(), LABELS)
    check(capture.torch_module(model, image(), LABELS), reference)
    assert model.head.weight.grad is kept
    assert bool((kept == 7).all())
    assert model.norm.weight.grad is None


class Table(torch.nn.Module):  # type: ignore[misc]
    """Returns its own parameter, and keeps what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.inner = Inner(self.table)

    def forward(self, x: Any) -> Any:
        self.kept = self.inner() * x.sum()
        return {"kept": self.kept}


class Inner(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = table

    def forward(self) -> Any:
        return self.table


def test_no_hooks_stay_on_tensors() -> None:
    model = Table().eval()
    found = capture.torch_module(model, image(), [0, 1], loss=lambda y, t: y["kept"].sum())
    assert {"inner:dy", "output.kept:dy", "table:grad"} <= set(found)
    assert nothing_is_left(model)
    assert not model.kept._backward_hooks


def test_frozen_parameters() -> None:
    model = build(torch).requires_grad_(False)
    found = capture.torch_module(model, image(), LABELS)
    assert "blocks.0.norm1:dy" in check(found, vitref.trace(plain_vit.weights(), image(), LABELS))
    assert "head.weight" in found.about["frozen"]
    assert not any(name.endswith(":grad") for name in found)
    assert not any(parameter.requires_grad for parameter in model.parameters())


class Odd(torch.nn.Module):  # type: ignore[misc]
    """A module called twice, one in place, a tuple, a mapping, integers."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = torch.nn.Linear(4, 4, dtype=torch.float64)
        self.inplace = torch.nn.ReLU(inplace=True)
        self.split = Split()
        self.named = Named()

    def forward(self, x: Any) -> Any:
        y = self.inplace(self.shared(x.flatten(1)[:, :4]))
        first, (second,), _ = self.split(self.shared(y))
        return self.named(first * second)


class Split(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x, (2 * x,), None


class Named(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return {"logits": x, "classes": x.argmax(dim=1)}


def test_modules_of_all_kinds() -> None:
    model = Odd().eval()
    pixels = image()
    found = capture.torch_module(model, pixels, [0, 1], loss=lambda y, t: y["logits"].square().mean())
    names = {"shared", "shared#1", "inplace", "split.0", "split.1.0", "named.logits", "output.logits"}
    assert names <= set(found)
    assert {f"{name}:dy" for name in names} <= set(found)
    assert found.about["left_out"] == {"named.classes": "of dtype int64", "output.classes": "of dtype int64"}
    weight, bias = (p.detach().numpy() for p in (model.shared.weight, model.shared.bias))
    before = pixels.reshape(2, -1)[:, :4] @ weight.T + bias
    assert difference(found["shared"], before) < BOUND
    assert found["shared"].min() < 0
    assert difference(found["inplace"], np.maximum(before, 0)) < BOUND
    assert np.array_equal(found["shared:dy"] == 0, before < 0)
    assert difference(found["inplace:dy"], found["shared#1:dy"] @ weight) < BOUND


@pytest.mark.parametrize("backward", [False, True])
def test_errors_leave_nothing_behind(backward: bool, tmp_path: Path) -> None:
    model = build(torch)
    labels = LABELS if backward else None

    def fails(module: Any, *arguments: Any) -> None:
        raise ValueError("no such token")

    model.norm.forward = fails
    with pytest.raises(ConfigError, match="ValueError: no such token"):
        capture.torch_module(model, image(), labels, out=tmp_path / "captured.safetensors")
    assert nothing_is_left(model)
    assert list(tmp_path.iterdir()) == []
    assert torch.nn.functional.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"


def test_a_loss_that_fails_leaves_nothing_behind() -> None:
    model = build(torch)
    with pytest.raises(ConfigError, match="IndexError"):
        capture.torch_module(model, image(), LABELS, loss=lambda y, t: y["loss"])
    assert nothing_is_left(model)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: build(torch).train(), "training mode"),
        (lambda: partly_in_training(), "blocks.1.attn"),
        (lambda: torch.jit.script(torch.nn.Linear(2, 2).eval()), "compiled"),
        (lambda: torch.nn.DataParallel(build(torch)).eval(), "DataParallel"),
        (lambda: build(torch).to("meta"), "meta"),
        (lambda: build, "function"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refused_models(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        capture.torch_module(make(), image())


def partly_in_training() -> Any:
    model = build(torch)
    model.blocks[1].attn.train()
    return model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": [1, 5]}, "out of range"),
        ({"labels": [1, 2, 3]}, r"shape \(3,\)"),
        ({"labels": [1, 2], "cotangent": np.ones((2, 5))}, "both"),
        ({"cotangent": np.ones((2, 4))}, r"shape \(2, 4\)"),
        ({"cotangent": {"blocks.7": np.ones((2, 4))}}, "blocks.7"),
        ({"labels": [1, 2], "loss": "hinge"}, "hinge"),
    ],
)
def test_refused_objectives(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        capture.torch_module(build(torch), image(), **arguments)


def test_a_model_that_cannot_be_differentiated() -> None:
    model = build(torch)
    model.head.register_forward_hook(lambda module, args, y: y.detach())
    with pytest.raises(ConfigError, match="no_grad"):
        capture.torch_module(model, image(), LABELS)


def test_no_image() -> None:
    with pytest.raises(ImageError):
        capture.torch_module(build(torch), np.zeros((2, 6, 9, 2), np.uint8))


def test_multi_head_attention_of_torch() -> None:
    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attn = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)

        def forward(self, x: Any) -> Any:
            x = x.reshape(2, 9, 12)
            return self.attn(x, x, x, need_weights=False)[0]

    before = torch.nn.functional.scaled_dot_product_attention
    found = capture.torch_module(Model().eval(), image())
    assert torch.nn.functional.scaled_dot_product_attention is before
    assert found["attn.q"].shape == (2, 3, 9, 4)
    logits = found["attn.q"] @ found["attn.k"].swapaxes(-1, -2) / 2
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert difference(found["attn.context"], weights @ found["attn.v"]) < BOUND


class Flat(torch.nn.Module):  # type: ignore[misc]
    """Pre-norm layers without a module for the block, a softmax that is a module; residuals as asked."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(9, dtype=torch.float64) for _ in range(3))
        self.mixers = torch.nn.ModuleList(Mixer() for _ in range(2))

    def forward(self, x: Any) -> Any:
        x = 2 * x.flatten(1, 2)
        for norm, mixer in zip(self.norms, self.mixers, strict=False):
            y = mixer(norm(x))
            x = x.add_(y) if self.in_place else x + y
        return self.norms[2](x)


class Mixer(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.key = torch.nn.Linear(9, 9, dtype=torch.float64)
        self.attend = torch.nn.Softmax(dim=-1)

    def forward(self, x: Any) -> Any:
        return torch.matmul(self.attend(torch.matmul(x, self.key(x).transpose(1, 2))), x)


@pytest.mark.parametrize("in_place", [False, True])
def test_residual_stream_of_unknown_models(in_place: bool) -> None:
    labels = None if in_place else [1, 2]
    loss = lambda y, t: y.square().sum()  # noqa: E731
    found = capture.torch_module(Flat(in_place).eval(), image(), labels, loss=loss)
    for i in range(2):
        mixed = found[f"mixers.{i}.attend"] @ found[f"norms.{i}"]
        assert difference(found[f"mixers.{i}.context"], mixed) < BOUND
        assert difference(found[f"norms.{i + 1}.input"], found[f"norms.{i}.input"] + mixed) < BOUND
        scores = found[f"norms.{i}"] @ found[f"mixers.{i}.key"].swapaxes(1, 2)
        assert difference(found[f"mixers.{i}.scores"], scores) < BOUND
    assert difference(found["norms.0.input"], 2 * image().reshape(2, -1, 9)) < BOUND
    if not in_place:
        assert difference(found["norms.0.input:dy"], found["image:dy"].reshape(2, -1, 9) / 2) < BOUND
        assert "norms.2.input:dy" in found
