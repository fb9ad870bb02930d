"""Buffers that passes share: whose they are, how long they live, and what never shares them."""

import threading

import numpy as np
import pytest

from vitref.backends.workspace import KEPT, Pool, fresh


def test_a_fresh_workspace_allocates_every_time() -> None:
    ws = fresh(np.empty)
    assert ws.empty("x", (2, 3), np.float32).shape == (2, 3)
    assert ws.scratch("x", (2,), "float64").dtype == np.float64
    assert ws.empty("x", (2,), float) is not ws.empty("x", (2,), float)
    assert ws.out("weight", (4,), np.float32).shape == (4,)


def test_without_an_allocator_there_is_no_workspace() -> None:
    with Pool(None).taken(keep=True) as workspace:
        assert workspace is None


def test_what_is_saved_belongs_to_its_step_and_scratch_to_all() -> None:
    with Pool(np.empty).taken(keep=True) as workspace:
        assert workspace is not None
        a, b = workspace.at("blocks.0", {}), workspace.at("blocks.1", {})
        assert a.empty("x", (2,), float) is a.empty("x", (2,), float)
        assert a.empty("x", (2,), float) is not b.empty("x", (2,), float)
        assert a.scratch("x", (2,), float) is b.scratch("x", (2,), float)
        assert a.scratch("x", (2,), float) is not a.empty("x", (2,), float)
        assert a.empty("x", (2,), float) is not a.empty("x", (3,), float)
        assert a.empty("x", (2,), float) is not a.empty("x", (2,), np.float32)


def test_inference_shares_one_buffer_per_role() -> None:
    with Pool(np.empty).taken(keep=False) as workspace:
        assert workspace is not None
        first, second = (workspace.at(f"blocks.{i}", {}).empty("x", (2,), float) for i in range(2))
        assert first is second


def test_the_next_pass_finds_the_buffers_again() -> None:
    pool, found = Pool(np.empty), []
    for _ in range(2):
        with pool.taken(keep=True) as workspace:
            assert workspace is not None
            found.append(workspace.at("a", {}).empty("x", (2,), float))
    assert found[0] is found[1]


def test_two_passes_at_once_share_nothing() -> None:
    pool = Pool(np.empty)
    with pool.taken(keep=True) as one, pool.taken(keep=True) as other:
        assert one is not None
        assert other is not None
        assert one.at("a", {}).empty("x", (2,), float) is not other.at("a", {}).empty("x", (2,), float)


def test_what_was_not_used_lately_is_let_go() -> None:
    pool = Pool(np.empty)
    with pool.taken(keep=True) as workspace:
        assert workspace is not None
        workspace.at("a", {}).empty("x", (2,), float)
    for passed in range(KEPT + 1):
        with pool.taken(keep=True) as workspace:
            assert workspace is not None
            assert len(workspace.buffers) == (1 if passed < KEPT else 0)


def test_gradients_go_to_the_callers_arrays() -> None:
    pool, given = Pool(np.empty), np.zeros(3)
    with pool.taken(keep=True, outs={"norm.weight": given}) as workspace:
        assert workspace is not None
        ws = workspace.at("norm", {"weight": "norm.weight", "bias": "norm.bias"})
        assert ws.out("weight", (3,), float) is given
        assert ws.out("bias", (3,), float) is not given
    with pool.taken(keep=True) as workspace:
        assert workspace is not None
        assert workspace.at("norm", {"weight": "norm.weight"}).out("weight", (3,), float) is not given


def test_a_pass_that_fails_gives_its_workspace_back() -> None:
    pool = Pool(np.empty)
    with pytest.raises(RuntimeError), pool.taken(keep=True) as first:
        raise RuntimeError
    with pool.taken(keep=True) as second:
        assert second is first
    pool.clear()
    with pool.taken(keep=True) as third:
        assert third is not first


def test_many_threads_never_share_a_workspace() -> None:
    pool, wrong = Pool(np.empty), []

    def work(number: int) -> None:
        for _ in range(200):
            with pool.taken(keep=True) as workspace:
                assert workspace is not None
                buffer = workspace.at("a", {}).empty("x", (8,), float)
                buffer[:] = number
                wrong.extend(buffer[buffer != number])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
