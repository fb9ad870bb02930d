"""Attention in blocks of queries: the numbers of the reference, without its (T, T) matrices."""

import dataclasses
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vitref
from vitref import backends
from vitref.array import NUMPY, HostArray
from vitref.backends.interface import Backend
from vitref.backends.numpy_kernels import attention_core as kernel
from vitref.graph import attention_core as reference
from vitref.run import Run, Trace
from vitref.testing import adjoint_error, random_like, tolerance

TOKENS = 600
"""Of a long sequence: 600 keys leave room for 436 queries in a block, so there is a second, smaller one."""

Arrays = tuple[HostArray, ...]
Four = tuple[HostArray, HostArray, HostArray, HostArray]


def arrays(dtype: str = "float64", tokens: int = TOKENS, heads: int = 3, width: int = 5) -> Four:
    """q, k, v as `split_heads` gives them, views of one array, and a cotangent."""
    rng = np.random.default_rng(0)
    qkv = rng.standard_normal((2, tokens, 3, heads, width)).astype(dtype)
    qkv.setflags(write=False)
    q, k, v = np.permute_dims(qkv, (2, 0, 3, 1, 4))
    return q, k, v, rng.standard_normal(q.shape).astype(dtype)


def by_reference(q: Any, k: Any, v: Any, dy: Any = None) -> Arrays:
    """y, and with a cotangent also dq, dk, dv."""
    run = Run({}, keep=dy is not None)
    t = Trace(run)
    y = t.step("", reference, q, k, v, rate=0.0)
    return (y,) if dy is None else (y, *t.undo("", dy))


def by_kernel(q: Any, k: Any, v: Any, dy: Any) -> Arrays:
    y, saved = kernel.forward(q, k, v, rate=0.0, xp=NUMPY)
    assert saved is not None
    return (y, *kernel.backward(dy, saved, xp=NUMPY))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_those_of_the_reference(dtype: str) -> None:
    q, k, v, dy = arrays(dtype)
    exact = by_reference(*(a.astype("float64") for a in (q, k, v, dy)))
    found = by_kernel(q, k, v, dy)
    assert len(found) == 4
    for mine, expected in zip(found, exact, strict=True):
        assert (mine.dtype.name, mine.shape) == (dtype, expected.shape)
        assert np.linalg.norm(mine - expected) <= tolerance(dtype, TOKENS) * np.linalg.norm(expected)


@pytest.mark.parametrize("tokens", [513, 1024])
def test_queries_that_fill_blocks_exactly_or_not(tokens: int) -> None:
    q, k, v, dy = arrays(tokens=tokens, heads=1, width=2)
    for mine, expected in zip(by_kernel(q, k, v, dy), by_reference(q, k, v, dy), strict=True):
        assert np.linalg.norm(mine - expected) <= tolerance("float64", tokens) * np.linalg.norm(expected)


def test_gradients_by_complex_step() -> None:
    q, k, v, dy = arrays(tokens=513, heads=2, width=3)
    point = np.array(q), np.array(k), np.array(v)
    direction = random_like(point, np.random.default_rng(1))
    gradient = by_kernel(*point, dy)[1:]
    assert adjoint_error(lambda p: by_reference(*p)[0], point, direction, dy, gradient) < tolerance("float64")


def test_queries_may_be_fewer_than_keys() -> None:
    q, k, v, dy = arrays()
    q, dy = q[:, :, :7], dy[:, :, :7]
    for mine, expected in zip(by_kernel(q, k, v, dy), by_reference(q, k, v, dy), strict=True):
        assert np.linalg.norm(mine - expected) <= tolerance("float64", TOKENS) * np.linalg.norm(expected)


def test_inference_keeps_nothing_and_backward_may_be_repeated() -> None:
    q, k, v, dy = arrays()
    assert kernel.forward(q, k, v, rate=0.0, xp=NUMPY, keep=False)[1] is None
    y, saved = kernel.forward(q, k, v, rate=0.0, xp=NUMPY)
    assert saved is not None
    first, second = (kernel.backward(dy, saved, xp=NUMPY) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.shares_memory(a, b) for a in (y, *first) for b in (q, k, v, dy))


def peak(function: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_linear_in_tokens() -> None:
    """For one block six matrices: scores, weights, their cotangents, two temporaries."""
    for tokens in (1024, 2048):
        q, k, v, dy = arrays("float32", tokens, heads=4, width=8)
        bound = 6 * 4 * kernel.BLOCK + 6 * q.nbytes
        assert peak(lambda q=q, k=k, v=v, dy=dy: by_kernel(q, k, v, dy)) <= bound  # type: ignore[misc]
    one_matrix = 2 * 4 * tokens**2 * q.itemsize
    assert bound < one_matrix / 8


def long_model() -> tuple[vitref.Weights, HostArray]:
    config = vitref.Config.variant(
        "ViT-Ti/16",
        convention="timm",
        image_size=(96, 92),
        patch_size=4,
        position_grid=(24, 23),
        width=12,
        heads=3,
        mlp_width=8,
        depth=2,
        classes=5,
    )
    return vitref.init(config, seed=0, dtype="float64"), np.random.default_rng(0).standard_normal(
        (2, 3, 96, 92)
    )


def without_kernels() -> Backend:
    return dataclasses.replace(backends.get("numpy"), kernels={})


def test_a_long_sequence_runs_in_blocks_with_the_same_result() -> None:
    weights, image = long_model()
    found = vitref.backward(weights, image, [1, 4], dtype="float64")
    expected = vitref.backward(weights, image, [1, 4], dtype="float64", backend=without_kernels())
    ran = vitref.trace(weights, image, only="logits").ran
    assert {ran[f"blocks.{i}.attn.<attention_core>"] for i in range(2)} == {"kernel"}
    pairs = {name: (found.weights[name], expected.weights[name]) for name in weights}
    assert found.logits is not None
    assert expected.logits is not None
    for name, (one, other) in {**pairs, "image": (found.image, expected.image)}.items():
        difference = np.linalg.norm(one - other)
        assert difference <= tolerance("float64", 10**5) * np.linalg.norm(other), name
    assert np.array_equal(vitref.forward(weights, image, dtype="float64"), found.logits)


def test_a_tap_inside_that_is_asked_for_runs_the_reference() -> None:
    weights, image = long_model()
    name = "blocks.1.attn.softmax"
    found = vitref.trace(weights, image, only=[name])
    assert found[name].shape == (2, 3, 553, 553)
    assert found.ran["blocks.0.attn.<attention_core>"] == "kernel"
    assert found.ran["blocks.1.attn.<attention_core>"] == f"reference ({name} was asked for)"


def test_it_refuses_short_sequences_and_dropout_of_attention_weights() -> None:
    q, k, v, _ = arrays(tokens=kernel.SHORT)
    assert "512" in (kernel.refuses(q, k, v, rate=0.0) or "")
    q, k, v, _ = arrays(tokens=kernel.SHORT + 1)
    assert kernel.refuses(q, k, v, rate=0.0) is None
    assert "dropout" in (kernel.refuses(q, k, v, rate=0.1) or "")
    weights, image = long_model()
    train = vitref.Train(dropout=0.0, attention_dropout=0.1, drop_path=0.0, seed=0, step=0)
    ran = vitref.trace(weights, image, only=["logits"], train=train).ran
    assert "dropout" in ran["blocks.0.attn.<attention_core>"]


def test_a_full_trace_has_every_step_of_a_long_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SHORT", 4)
    config = vitref.Config.variant("ViT-Ti/16", convention="timm", image_size=48, depth=1, classes=3)
    weights, image = vitref.init(config, seed=0), np.zeros((1, 3, 48, 48))
    step = "blocks.0.attn.<attention_core>"
    assert vitref.trace(weights, image, only="logits").ran[step] == "kernel"
    everything = vitref.trace(weights, image)
    assert everything.ran[step] == "reference (everything is recorded)"
    assert everything["blocks.0.attn.softmax"].shape == (1, 3, 10, 10)
