"""Attention by the CUDA kernels, run on the CPU: its numbers are those of the components in float64."""

import functools
from typing import Any

import numpy as np
import pytest

from tests.cuda.attention_cases import (
    KERNELS,
    Arrays,
    Case,
    Problem,
    by_kernel,
    error,
    exact,
    kernels,
    limited,
    problem,
    solved,
)
from tests.cuda.host import HostDevice
from vitref.array import NUMPY, HostArray
from vitref.backends.cupy_kernels import attention_core as kernel
from vitref.backends.cupy_kernels.attention_plan import SHARED_LIMIT
from vitref.components import scores
from vitref.testing import tolerance

DEVICE: dict[str, Any] = {"device": HostDevice(), "math": "strict"}


def allowed(dtype: str, math: str, tokens: int) -> float:
    """Of 16-bit storage, and of TF32, which keeps as many digits as float16, the sums are in float32."""
    if dtype != "float32":
        return tolerance(dtype)
    return tolerance("float16") if math == "tf32" else tolerance(dtype, tokens)


def check(found: Arrays, given: Problem, dtype: str, math: str = "strict") -> None:
    for mine, expected in zip(found, exact(given), strict=True):
        assert (mine.shape, str(mine.dtype)) == (expected.shape, dtype)
        assert error(mine, expected) <= allowed(dtype, math, given.k.shape[-2])


ALL = [(dtype, math, case, names) for (dtype, math), cases in KERNELS.items() for case, names in cases]


@pytest.mark.parametrize(("dtype", "math", "case", "names"), ALL)
def test_every_kernel(dtype: str, math: str, case: Case, names: str) -> None:
    found, device = solved(case, dtype, math)
    assert device.launched == kernels(dtype, math, names)
    check(found, problem(case, dtype), dtype, math)


@pytest.mark.parametrize(("dtype", "math", "case", "names"), ALL)
def test_log_sums(dtype: str, math: str, case: Case, names: str) -> None:
    """In float32 whatever the storage: a key too many or too few shows."""
    q, k, v, _ = problem(case, dtype)
    settings: dict[str, Any] = {"device": limited(case.limit), "math": math}
    _, saved = kernel.forward(q, k, v, rate=0.0, xp=NUMPY, **settings)
    assert saved is not None
    s, _ = scores.forward(q.astype("float64"), k.astype("float64"))
    expected = np.log2(np.sum(np.exp(s), axis=-1))
    allowed_error = tolerance("float16" if math == "tf32" else "float32", case.width) * np.max(np.abs(s))
    assert np.max(np.abs(saved.lse[..., : case.queries] - expected)) <= allowed_error


@pytest.mark.parametrize("width", [16, 64, 72, 80, 90, 96, 101, 128])
@pytest.mark.parametrize("tokens", [15, 197])
def test_widths_in_16_bits(width: int, tokens: int) -> None:
    case = Case(tokens, width, heads=1)
    check(solved(case, "bfloat16")[0], problem(case, "bfloat16"), "bfloat16")


@pytest.mark.parametrize(("tokens", "width"), [(50, 64), (65, 32), (257, 64), (300, 64), (577, 8)])
def test_sequences_in_float16(tokens: int, width: int) -> None:
    case = Case(tokens, width, heads=1)
    check(solved(case, "float16")[0], problem(case, "float16"), "float16")


@pytest.mark.parametrize("math", ["strict", "tf32"])
@pytest.mark.parametrize(("queries", "keys"), [(17, 64), (33, 112), (49, 16), (64, 80), (100, 48)])
def test_tiles_in_part(queries: int, keys: int, math: str) -> None:
    case = Case(queries, 20, keys=keys, heads=1)
    check(solved(case, "float32", math)[0], problem(case, "float32"), "float32", math)


@pytest.mark.parametrize(("width", "math"), [(64, "strict"), (64, "fp32x3"), (128, "strict"), (128, "tf32")])
def test_widths_in_float32(width: int, math: str) -> None:
    case = Case(70, width, keys=67, heads=1)
    check(solved(case, "float32", math)[0], problem(case, "float32"), "float32", math)


@pytest.mark.parametrize(("dtype", "math"), KERNELS)
def test_one_key_has_weight_one_and_no_gradient(dtype: str, math: str) -> None:
    case = Case(1, 32, heads=3)
    given = problem(case, dtype)
    y, dq, dk, dv = solved(case, dtype, math)[0]
    assert error(y, given.v.astype("float64")) <= allowed(dtype, math, 1)
    assert error(dv, given.dy.astype("float64")) <= allowed(dtype, math, 1)
    terms = np.linalg.norm((given.dy * given.v).astype("float64"))
    for gradient, factor in ((dq, given.k), (dk, given.q)):
        bound = allowed(dtype, math, 32) * terms * np.linalg.norm(factor.astype("float64"))
        assert np.linalg.norm(gradient.astype("float64")) <= bound


@pytest.mark.parametrize(("queries", "keys"), [(1, 100), (7, 130), (200, 1), (300, 20)])
def test_queries_and_keys_differ_in_number(queries: int, keys: int) -> None:
    case = Case(queries, 24, keys=keys)
    y, dq, dk, dv = solved(case, "bfloat16")[0]
    exact_y, exact_dq, exact_dk, exact_dv = exact(problem(case, "bfloat16"))
    pairs = [(y, exact_y), (dv, exact_dv)] + [(dq, exact_dq), (dk, exact_dk)] * (keys > 1)
    assert all(error(mine, expected) <= tolerance("bfloat16") for mine, expected in pairs)


def layouts(x: HostArray) -> dict[str, HostArray]:
    """The same numbers, lying differently in memory."""
    n, heads, tokens, width = x.shape
    wide = np.zeros((n, heads, tokens, width + 3), x.dtype)
    wide[..., 1:-2] = x
    sparse = np.repeat(x, 2, axis=-1)[..., ::2]
    return {
        "packed": x.copy(),
        "unaligned": wide[..., 1:-2],
        "sparse": sparse,
        "backward": x[::-1].copy()[::-1],
    }


@pytest.mark.parametrize("layout", ["packed", "unaligned", "sparse", "backward"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_where_the_elements_lie_changes_nothing(layout: str, dtype: str) -> None:
    given = problem(Case(40, 24, images=2), dtype)
    expected = by_kernel(given, "strict", limited(SHARED_LIMIT))
    moved = Problem(*(layouts(x)[layout] for x in given))
    mixed = given._replace(k=layouts(given.k)[layout], dy=layouts(given.dy)[layout])
    for other in (moved, mixed):
        found = by_kernel(other, "strict", limited(SHARED_LIMIT))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("dtype", "math"), KERNELS)
def test_large_scores(dtype: str, math: str) -> None:
    """Their rounding is relative to the largest of them, and enters the exponent."""
    q, k, v, dy = problem(Case(40, 24), dtype)
    given = Problem(q * 30, k, v, dy)
    y = by_kernel(given, math, limited(SHARED_LIMIT))[0]
    largest = np.max(np.abs(given.q.astype("float64") @ np.matrix_transpose(k.astype("float64")))) / 24**0.5
    unit = {"bfloat16": "float32"}.get(dtype, "float16" if math == "tf32" else "float32")
    assert error(y, exact(given)[0]) <= allowed(dtype, math, 40) + largest * tolerance(unit)


@pytest.mark.parametrize(("dtype", "math"), KERNELS)
@pytest.mark.parametrize("which", ["q", "k", "v", "dy"])
def test_nan_stays_in_its_image_and_head(dtype: str, math: str, which: str) -> None:
    case = Case(35, 24, images=2, heads=3)
    given = problem(case, dtype)
    clean = by_kernel(given, math, limited(SHARED_LIMIT))
    spoilt = getattr(given, which).copy()
    spoilt[1, 2, 17, 5] = np.nan
    found = by_kernel(given._replace(**{which: spoilt}), math, limited(SHARED_LIMIT))
    for mine, before in zip(found, clean, strict=True):
        assert mine[0].tobytes() == before[0].tobytes()
        assert mine[1, :2].tobytes() == before[1, :2].tobytes()
    seen = {"q": 1, "k": 1, "v": 1, "dy": 2}[which]
    reached = [bool(np.any(np.isnan(x[1, 2].astype("float32")))) for x in found]
    assert reached == [seen == 1, True, True, which != "v"]


def test_nan_in_one_query_leaves_the_other_results_alone() -> None:
    given = problem(Case(70, 24, heads=1), "bfloat16")
    q = given.q.copy()
    q[0, 0, 33] = np.nan
    y = by_kernel(given._replace(q=q), "strict", limited(SHARED_LIMIT))[0].astype("float32")
    assert np.all(np.isnan(y[0, 0, 33]))
    assert np.sum(np.isnan(y)) == 24


@pytest.mark.parametrize(("dtype", "math"), KERNELS)
def test_infinite_scores_are_as_in_the_definition(dtype: str, math: str) -> None:
    """-inf is weight 0, also where it is all that the first tile has; a whole row of it is NaN.

    An infinite number has no low part: three products give NaN.
    """
    given = problem(Case(3, 8, keys=140, heads=1), dtype)
    q, k = np.abs(given.q), given.k.copy()
    k[:, :, :135, 0] = -np.inf
    y = by_kernel(given._replace(q=q, k=k), math, limited(SHARED_LIMIT))[0]
    last = Problem(q, k[:, :, 135:], given.v[:, :, 135:], given.dy)
    if math == "fp32x3":
        assert np.all(np.isnan(y))
        return
    assert error(y, exact(last)[0]) <= allowed(dtype, math, 5)
    k[..., 0] = -np.inf
    y = by_kernel(given._replace(q=q, k=k), math, limited(SHARED_LIMIT))[0]
    assert np.all(np.isnan(y.astype("float32")))


def test_images_and_heads_do_not_depend_on_each_other() -> None:
    case = Case(40, 24, images=3, heads=2)
    given = problem(case, "bfloat16")
    together = by_kernel(given, "strict", limited(SHARED_LIMIT))
    one = Problem(*(x[1:2, 1:] for x in given))
    alone = by_kernel(one, "strict", limited(SHARED_LIMIT))
    assert all(a[1, 1].tobytes() == b[0, 0].tobytes() for a, b in zip(together, alone, strict=True))


def test_inference_keeps_nothing_and_gives_the_same() -> None:
    q, k, v, _ = problem(Case(150, 24), "bfloat16")
    kept, saved = kernel.forward(q, k, v, rate=0.0, xp=NUMPY, **DEVICE)
    y, nothing = kernel.forward(q, k, v, rate=0.0, xp=NUMPY, keep=False, **DEVICE)
    assert saved is not None
    assert nothing is None
    assert np.array_equal(y, kept)


def test_cotangents_lie_as_the_product_of_queries_keys_and_values() -> None:
    q, k, v, dy = problem(Case(20, 24, images=2), "bfloat16")
    y, saved = kernel.forward(q, k, v, rate=0.0, xp=NUMPY, **DEVICE)
    assert np.permute_dims(y, (0, 2, 1, 3)).flags.c_contiguous
    assert saved is not None
    gradients = kernel.backward(dy, saved, xp=NUMPY, **DEVICE)
    assert [x.strides for x in gradients] == [x.strides for x in (q, k, v)]
    assert gradients[1].ctypes.data - gradients[0].ctypes.data == k.ctypes.data - q.ctypes.data


@functools.cache
def given_for_refusals() -> Problem:
    return problem(Case(4, 6), "float32")


@pytest.mark.parametrize(
    ("change", "rate", "limit", "reason"),
    [
        (lambda x: x, 0.1, SHARED_LIMIT, "dropout"),
        (lambda x: x.astype("float64"), 0.0, SHARED_LIMIT, "float64"),
        (lambda x: x[0], 0.0, SHARED_LIMIT, "shapes"),
        (lambda x: x[:, :, :0], 0.0, SHARED_LIMIT, "empty"),
        (lambda x: np.repeat(x, 22, axis=-1), 0.0, SHARED_LIMIT, "width 132"),
        (lambda x: x, 0.0, 20_000, "20000 bytes of shared memory"),
    ],
)
def test_it_refuses_what_it_cannot_do(change: Any, rate: float, limit: int, reason: str) -> None:
    q, k, v, _ = given_for_refusals()
    settings: dict[str, Any] = {"rate": rate, "device": limited(limit), "math": "strict"}
    assert reason in (kernel.refuses(change(q), change(k), change(v), **settings) or "")


def test_it_refuses_keys_and_values_that_do_not_belong_together() -> None:
    q, k, v, _ = given_for_refusals()
    for wrong in ((q, k[:, :, :3], v), (q[:, :1], k, v), (q[..., :5], k, v)):
        assert "shapes" in (kernel.refuses(*wrong, rate=0.0, **DEVICE) or "")
    assert "differ" in (kernel.refuses(q, k, v.astype("float16"), rate=0.0, **DEVICE) or "")
