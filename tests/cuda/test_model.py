"""Whole small models through the CUDA kernels, forward and backward, on the CPU."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import vitref
from tests.cuda.host import MATHS, host_backend
from vitref.array import HostArray
from vitref.testing import tolerance
from vitref.testing.models import MODEL_CHECKS, verify_model

CONFIG = vitref.Config.variant(
    "ViT-Ti/16",
    convention="timm",
    image_size=(48, 32),
    position_grid=(3, 2),
    width=96,
    heads=3,
    mlp_width=72,
    depth=2,
    classes=5,
)
"""Heads of 32; the inner width is no power of two."""

LABELS = [1, 4, 2]

ROUNDING = {"strict": "float32", "fp32x3": "float32", "tf32": "float16", "float16": "float16"}
"""Precision, or dtype -> a dtype that keeps as many digits; TF32 keeps those of float16."""


@pytest.mark.parametrize("check", [name for name in MODEL_CHECKS if name != "kernels_run"])
def test_models(check: str) -> None:
    backend = dataclasses.replace(host_backend(), dtypes=("float32",))
    verify_model(backend, check, share=0.02)


def test_every_kernel_runs_in_some_model() -> None:
    """In 16 bits those of components that are only widened, too."""
    verify_model(dataclasses.replace(host_backend(), dtypes=("bfloat16",)), "kernels_run", share=0.04)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("check", ["outputs", "gradients"])
def test_models_in_16_bits(check: str, dtype: str) -> None:
    verify_model(dataclasses.replace(host_backend(), dtypes=(dtype,)), check, share=0.04)


def weights() -> vitref.Weights:
    return vitref.init(CONFIG, seed=0, dtype="float32")


def image() -> HostArray:
    return np.random.default_rng(0).standard_normal((3, 3, 48, 32)).astype("float32")


def options() -> dict[str, Any]:
    return {"backend": host_backend(), "dtype": "float32"}


def differences(dtype: str, math: str) -> dict[str, float]:
    """Of logits and gradients to those of the reference in float64, relative to their size."""
    options: dict[str, Any] = {"dtype": dtype, "precision": math, "backend": host_backend(math=math)}
    found = vitref.backward(weights(), image(), LABELS, **options)
    exact = vitref.backward(weights(), image(), LABELS, dtype="float64")
    pairs = {name: (found.weights[name], exact.weights[name]) for name in exact.weights}
    pairs |= {"image": (found.image, exact.image), "logits": (found.logits, exact.logits)}
    return {
        name: float(np.linalg.norm(np.asarray(one, "float64") - other) / np.linalg.norm(other))
        for name, (one, other) in pairs.items()
    }


@pytest.mark.parametrize(
    ("dtype", "math"), [*(("float32", math) for math in MATHS), ("bfloat16", "strict"), ("float16", "strict")]
)
def test_every_precision_is_as_exact_as_its_rounding(dtype: str, math: str) -> None:
    rounding = dtype if dtype != "float32" else ROUNDING[math]
    worst = differences(dtype, math)
    assert {name: error for name, error in worst.items() if error > tolerance(rounding, CONFIG.width)} == {}


def test_tf32_is_not_float32() -> None:
    """Else the precisions would not be told apart."""
    assert differences("float32", "tf32")["logits"] > 20 * differences("float32", "fp32x3")["logits"]


def test_blocks_run_as_one_kernel() -> None:
    ran = vitref.trace(weights(), image(), only="logits", **options()).ran
    assert [ran[f"blocks.{i}"] for i in range(CONFIG.depth)] == ["kernel"] * CONFIG.depth


@pytest.mark.parametrize(
    ("asked", "by_kernels"),
    [("blocks.0.norm2", {"attn.<attention_core>", "attn.qkv", "mlp", "norm1", "norm2"}),
     ("blocks.0.mlp.act", {"mlp.fc1", "mlp.act", "mlp.fc2"}),
     ("blocks.0.attn.softmax", {"attn.softmax", "mlp"})],
)  # fmt: skip
def test_a_tap_inside_a_block_leaves_the_rest_to_kernels(asked: str, by_kernels: set[str]) -> None:
    found = vitref.trace(weights(), image(), only=[asked], **options())
    exact = vitref.trace(weights(), image(), only=[asked], dtype="float64")
    assert {found.ran[f"blocks.0.{step}"] for step in by_kernels} == {"kernel"}
    assert found.ran["blocks.1"] == "kernel"
    error = np.linalg.norm(found[asked] - exact[asked]) / np.linalg.norm(exact[asked])
    assert error <= tolerance("float32", CONFIG.width)


@pytest.mark.parametrize("order", [1, 7])
def test_the_order_of_the_threads_changes_no_bit(order: int) -> None:
    first, second = (
        vitref.backward(weights(), image(), LABELS, backend=host_backend(order=n)) for n in (0, order)
    )
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert np.array_equal(first.image, second.image)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    alone = vitref.forward(weights(), image()[:1], backend=host_backend())
    changed = image()
    changed[1:] = 1e3
    together = vitref.forward(weights(), changed, backend=host_backend())
    exact = vitref.forward(weights(), image()[:1], dtype="float64")
    assert np.linalg.norm(alone - exact) <= tolerance("float32", CONFIG.width) * np.linalg.norm(exact)
    assert np.array_equal(vitref.forward(weights(), image(), backend=host_backend())[0], together[0])
