"""Which attention kernel runs on which device: arithmetic alone, no device needed."""

import itertools

import pytest

from vitref.backends.cupy_kernels import attention_plan as plan

HOPPER, AMPERE, CONSUMER = 227 * 1024, 163 * 1024, 99 * 1024
KINDS = [("bf16", "strict"), ("f16", "strict"), ("f32", "strict"), ("f32", "tf32"), ("f32", "fp32x3")]


def test_a_head_is_padded_to_the_next_width() -> None:
    assert [plan.padded(width) for width in (1, 32, 33, 64, 72, 90, 128)] == [32, 32, 64, 64, 80, 96, 128]
    assert plan.padded(129) is None


@pytest.mark.parametrize(("tokens", "kernel"), [(50, "_bf16"), (145, "_208_bf16"), (197, "_208_bf16")])
def test_short_sequences_take_a_head_at_once(tokens: int, kernel: str) -> None:
    forward = plan.forward("bf16", "strict", 64, tokens, tokens, HOPPER)
    backward = plan.backward("bf16", "strict", 64, tokens, tokens, HOPPER)
    assert forward is not None
    assert backward is not None
    assert (forward.kernel, forward.blocks) == (f"attention_forward{kernel}", 1)
    assert [(one.kernel, one.blocks) for one in backward] == [("attention_backward_208_bf16", 1)]


@pytest.mark.parametrize(("tokens", "kernel"), [(257, "_272_bf16"), (577, "_bf16"), (4097, "_bf16")])
def test_longer_ones_go_by_tiles(tokens: int, kernel: str) -> None:
    forward = plan.forward("bf16", "strict", 64, tokens, tokens, HOPPER)
    backward = plan.backward("bf16", "strict", 64, tokens, tokens, HOPPER)
    assert forward is not None
    assert backward is not None
    assert forward.kernel == f"attention_forward{kernel}"
    names = [one.kernel for one in backward]
    assert names == ["attention_backward_queries_bf16", "attention_backward_keys_bf16"]
    rows = [one.blocks * one.threads // 2 for one in backward]
    assert all(tokens <= n < tokens + one.threads // 2 for n, one in zip(rows, backward, strict=True))


def test_blocks_share_a_multiprocessor_where_registers_are_meant_for_it() -> None:
    base = plan.forward("bf16", "strict", 64, 197, 197, HOPPER)
    large = plan.forward("bf16", "strict", 80, 257, 257, HOPPER)
    assert base is not None
    assert large is not None
    assert base.shared * 3 <= HOPPER
    assert large.shared * 2 <= HOPPER


@pytest.mark.parametrize("limit", [HOPPER, AMPERE, CONSUMER])
def test_every_plan_fits_the_device(limit: int) -> None:
    for (storage, math), width, queries, keys in itertools.product(
        KINDS, plan.WIDTHS, (1, 50, 197, 257, 577), (1, 50, 197, 257, 577)
    ):
        forward = plan.forward(storage, math, width, queries, keys, limit)
        backward = plan.backward(storage, math, width, queries, keys, limit)
        for one in (forward, *(backward or ())):
            if one is not None:
                assert one.shared <= limit
                assert one.threads % 32 == 0
        if limit >= AMPERE or math != "strict" or storage != "f32":
            assert forward is not None
            assert backward is not None


def test_the_largest_strict_heads_need_more_than_a_consumer_device_has() -> None:
    assert plan.forward("f32", "strict", 128, 50, 50, CONSUMER) is not None
    assert plan.backward("f32", "strict", 128, 50, 50, CONSUMER) is None
    assert plan.backward("f32", "strict", 64, 50, 50, CONSUMER) is not None
