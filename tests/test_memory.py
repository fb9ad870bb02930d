"""What a pass holds: inference frees what it has passed, and weights in the right dtype are not copied."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.array import HostArray
from vitref.call import Call

Model = tuple[vitref.Weights, HostArray]


def model(depth: int) -> Model:
    config = vitref.Config.variant(
        "ViT-Ti/16", convention="timm", image_size=(64, 96), depth=depth, classes=3
    )
    image = np.random.default_rng(0).standard_normal((16, 3, 64, 96), np.float32)
    return vitref.init(config, seed=0), image


def peak(function: Callable[..., Any], model: Model, **options: Any) -> int:
    """Bytes allocated at the worst moment of a call, after a first one."""
    function(*model, **options)
    tracemalloc.start()
    try:
        function(*model, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def hidden_layer(weights: vitref.Weights, image: HostArray) -> int:
    """Bytes of the largest activation: that of the MLP."""
    return len(image) * weights.config.tokens * weights.config.mlp_width * image.itemsize


def token_wide(weights: vitref.Weights, image: HostArray) -> int:
    """Bytes of an activation as wide as a token."""
    return len(image) * weights.config.tokens * weights.config.width * image.itemsize


def test_inference_holds_the_same_at_any_depth() -> None:
    shallow, deep = model(2), model(6)
    first, second = (peak(vitref.forward, m) for m in (shallow, deep))
    assert second - first < 0.1 * hidden_layer(*deep)
    inside_gelu = 3 * hidden_layer(*deep) + 4 * token_wide(*deep) + deep[1].nbytes
    assert second < 1.05 * inside_gelu


def test_backward_holds_what_the_components_document() -> None:
    """Keeps, of each block: x and p of the GELU, the input of fc2; of a token's width xhat of both norms,
    the inputs of qkv, proj and fc1, and q, k, v; the attention weights.
    """
    shallow, deep = model(2), model(6)
    first, second = (peak(vitref.backward, m, labels=[0, 1, 2, 0] * 4) for m in (shallow, deep))
    config = deep[0].config
    attention = 4 * len(deep[1]) * config.heads * config.tokens**2
    block = 3 * hidden_layer(*deep) + 8 * token_wide(*deep) + attention
    assert 0.95 * block < (second - first) / 4 < 1.05 * block


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_copied_only_where_the_dtype_changes(dtype: str) -> None:
    weights, image = model(1)
    call = Call.prepare(weights, image, "numpy", dtype, "strict")
    shared = [np.shares_memory(call.parameters[name], weights[name]) for name in weights]
    assert all(shared) if dtype == "float32" else not any(shared)
