"""Attention by blocks of queries: the reference's numbers, for any number of tokens, heads and threads."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vitref import backends
from vitref.array import NUMPY, HostArray
from vitref.graph import attention_core as reference
from vitref.run import Run, Trace
from vitref.testing import adjoint_error, random_like, tolerance
from vitref.testing.kernel_checks import Buffers

pytest.importorskip("numba")

Arrays = tuple[HostArray, ...]

SHAPES = {
    "one token": (2, 3, 1, 4),
    "odd": (2, 3, 7, 5),
    "heads = tokens": (1, 4, 4, 4),
    "one head": (1, 1, 50, 8),
    "ViT": (2, 3, 197, 8),
    "two blocks": (1, 2, 400, 5),
}
LONG = "two blocks"


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    """As in every pass: BLAS's own threads would fight with the team's."""
    with backends.get("numba").scope():
        yield


def arrays(shape: tuple[int, ...], dtype: str = "float64", seed: int = 0) -> Arrays:
    """q, k, v as `split_heads` gives them, views of one array, and a cotangent."""
    n, heads, tokens, width = shape
    rng = np.random.default_rng(seed)
    qkv = rng.standard_normal((n, tokens, 3, heads, width)).astype(dtype)
    qkv.setflags(write=False)
    q, k, v = np.permute_dims(qkv, (2, 0, 3, 1, 4))
    return q, k, v, rng.standard_normal(q.shape).astype(dtype)


def kernel(threads: int = 2) -> Any:
    return backends.get("numba", threads=threads).kernels["attention_core"]


def passes(q: Any, k: Any, v: Any, dy: Any, *, threads: int = 2, ws: Any = None) -> Arrays:
    """y, dq, dk, dv by the kernel."""
    part = kernel(threads)
    y, saved = part.forward(q, k, v, rate=0.0, xp=NUMPY, ws=ws and ws.call(), keep=True)
    return y, *part.backward(dy, saved, xp=NUMPY, ws=ws and ws.call())


def by_reference(q: Any, k: Any, v: Any, dy: Any) -> Arrays:
    run = Run({})
    t = Trace(run)
    y = t.step("", reference, *(x.astype("float64") for x in (q, k, v)), rate=0.0)
    return y, *t.undo("", dy.astype("float64"))


def assert_close(found: Arrays, expected: Arrays, dtype: str) -> None:
    for name, a, b in zip(("y", "dq", "dk", "dv"), found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == dtype
        allowed = tolerance(dtype, max(b.shape[-2:])) * np.max(np.abs(b))
        assert np.max(np.abs(a - b)) <= allowed, name


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_numbers_are_the_references(shape: tuple[int, ...], dtype: str, threads: int) -> None:
    given = arrays(shape, dtype)
    assert_close(passes(*given, threads=threads), by_reference(*given), dtype)


def test_several_blocks_in_a_short_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitref.backends.numba_kernels import heads

    given = arrays(SHAPES["odd"])
    for block in (1, 14, 20, 100):
        monkeypatch.setattr(heads, "BLOCK", block)
        assert_close(passes(*given), by_reference(*given), "float64")


def test_the_adjoint_is_that_of_the_reference() -> None:
    q, k, v, dy = arrays(SHAPES["odd"], seed=3)
    _, *grads = passes(q, k, v, dy)
    point, direction = (q, k, v), random_like((q, k, v), np.random.default_rng(4))

    def forward(point: Any) -> Any:
        return Trace(Run({}, keep=False)).step("", reference, *point, rate=0.0)

    assert adjoint_error(forward, point, direction, dy, tuple(grads)) < 1e-14


@pytest.mark.parametrize("name", ["odd", LONG])
def test_buffers_are_used_again_and_never_returned(name: str) -> None:
    first, second = arrays(SHAPES[name], seed=1), arrays(SHAPES[name], seed=2)
    ws = Buffers(backends.get("numba", threads=2))
    found = passes(*first, ws=ws)
    before = [x.copy() for x in found]
    passes(*second, ws=ws)
    again = passes(*first, ws=ws)
    for a, b, c in zip(found, before, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(c, b)


def test_nothing_that_was_given_is_changed() -> None:
    for shape in (SHAPES["odd"], SHAPES[LONG]):
        given = arrays(shape)
        copies = [x.copy() for x in given]
        for x in given:
            x.setflags(write=False)
        passes(*given)
        for x, copy in zip(given, copies, strict=True):
            np.testing.assert_array_equal(x, copy)


def test_one_thread_count_always_gives_the_same_bits() -> None:
    given = arrays(SHAPES["ViT"], "float32")
    results = [[x.tobytes() for x in passes(*given, threads=3)] for _ in range(3)]
    assert results[0] == results[1] == results[2]


def test_memory_is_linear_in_the_number_of_tokens() -> None:
    part, peaks = kernel(), []
    for tokens in (700, 1400):
        q, k, v, dy = arrays((1, 2, tokens, 8), "float32")
        passes(q, k, v, dy)
        tracemalloc.start()
        y, saved = part.forward(q, k, v, rate=0.0, xp=NUMPY, ws=None, keep=True)
        part.backward(dy, saved, xp=NUMPY, ws=None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del y, saved
    blocks = 2 * 2 * 2**17 * 4  # two threads, scores and their cotangent
    assert peaks[1] < blocks + 2.2 * (peaks[0] - blocks)
    assert peaks[1] < 2 * 1400 * 1400 * 4 / 2  # half of the attention weights alone


def test_a_nan_reaches_its_own_image_and_head_and_no_other() -> None:
    q, k, v, dy = (x.copy() for x in arrays(SHAPES["odd"], "float32"))
    k[1, 2, 3, 0] = np.nan
    y, *_ = passes(q, k, v, dy)
    bad = np.isnan(y)
    assert bad[1, 2].all()
    bad[1, 2] = False
    assert not bad.any()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rate": 0.1}, "dropout of attention weights"),
        ({"k": np.ones((1, 2, 3, 5), "float32")}, "mixed dtypes: float32, float64"),
        ({"v": np.ones((1, 2, 2, 5))}, "shapes (1, 2, 3, 5), (1, 2, 3, 5), (1, 2, 2, 5)"),
    ],
)
def test_what_it_cannot_do_it_refuses(changes: dict[str, Any], why: str) -> None:
    given = {name: np.ones((1, 2, 3, 5)) for name in "qkv"} | {"rate": 0.0} | changes
    assert kernel().refuses(given["q"], given["k"], given["v"], rate=given["rate"]) == why
