"""Own runs: as another careful program would compute it. Right to rounding, different at every draw."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.verify.compare import models
from vitref.array import NUMPY
from vitref.testing import checks
from vitref.testing.cases import SPECS
from vitref.testing.problem import Case, Problem, problem
from vitref.testing.structure import apply
from vitref.testing.tolerance import tolerance
from vitref.verify.mistakes import edit
from vitref.verify.numerics import FORMS, At, Realisation, namespace, primitives
from vitref.verify.precision import LADDER, rounded, stored_in
from vitref.verify.steps import table

MOVES = {"add", "identity", "unfold", "split_heads", "merge_heads", "select_token"}
FIXED = {
    "": MOVES | {"class_token", "position_embedding", "layer_scale"},
    "dy": MOVES | {"class_token", "position_embedding", "layer_scale", "mean_pool"},
    "grad": set(),
}
"""Kind of tap -> components without a sum of three terms or a function: all programs return the same."""
ABSENT = {"dropout", "drop_path", "sigmoid_cross_entropy", "position_embedding"}
"""Components that the model here has not."""

STORED = {"float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def a_problem(component: str, precision: str, seed: int = 0) -> Problem:
    """Numbers for one component in the dtype in which the precision stores them."""
    rng = np.random.default_rng(seed)
    arguments = SPECS[component].arguments(lambda low, high: int(rng.integers(low, high + 1)))
    dtype = precision if precision in STORED else "float32"
    return problem(Case(component, arguments, "plain", "contiguous", dtype, seed), primitives()[component])


def run(p: Problem, realisation: Realisation, precision: str) -> tuple[Any, tuple[Any, ...]]:
    """Output and gradients."""
    kernel = realisation.kernels(3, {})[p.case.component]

    def wide(values: Any) -> Any:
        return apply(lambda x: x.astype(realisation.dtype) if x.dtype.kind in "fV" else x, values)

    y, saved = kernel.forward(*wide(p.args), **wide(p.static), ws=At("", precision), keep=True, xp=NUMPY)
    return y, kernel.backward(wide(p.dy), saved, ws=At("", precision), xp=NUMPY)


@pytest.mark.parametrize("precision", LADDER)
@pytest.mark.parametrize("component", [name for name in SPECS if name in primitives()])
def test_every_primitive_is_right_to_rounding(component: str, precision: str) -> None:
    digits = "float16" if precision == "tf32" else precision
    for seed in range(2):
        p = a_problem(component, precision, seed)
        y, grads = run(p, Realisation(precision, seed), precision)
        _, saved = p.reference.forward(*p.exact(p.args), **p.exact(p.static))
        exact = p.reference.backward(p.exact(p.dy), saved)
        allowed = p.tolerance() * tolerance(digits) / tolerance(p.case.dtype)
        checks.close("y", y, p.expected, p.sizes.y, allowed)
        for name, found, right, size in zip(p.names, grads, exact, p.sizes.grads, strict=True):
            if right is not None:
                checks.close(name, found, right, size, allowed)


@cache
def a_model() -> Any:
    """With every primitive of an evaluation; five images, so that sums over the batch have an order."""
    weights = models.weights(
        layer_scale=True, pool="mean", pre_logits=10, position_grid=(3, 5), position_resize="bicubic"
    )
    return models.model(weights, models.image(images=5), labels=np.array([1, 0, 6, 2, 2]))


@cache
def right() -> models.Taps:
    return models.evaluated(a_model())


def local(precision: str, seed: int, **options: Any) -> models.Taps:
    """Every step by itself, from the right inputs."""
    return models.evaluated(a_model(), Realisation(precision, seed, **options), given=right())


def makers() -> dict[str, str]:
    """Tap -> the component whose forward or backward pass computes it."""
    steps = table(a_model().config, 5, "cross_entropy")
    made = {output: step.component for step in steps.steps for output in step.outputs}
    made |= {f"{name}:grad": step.component for step in steps.steps for name in step.parameters}
    for name, users in steps.uses.items():
        if len(users) == 1 and users[0].component not in ("class_token", "resized_position_embedding"):
            made[f"{name}:dy"] = users[0].component
    return made


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_the_noise_of_a_step_is_never_a_lucky_zero(precision: str) -> None:
    first, second, third = (local(precision, seed) for seed in range(3))
    checked = set()
    for tap, component in makers().items():
        fixed = FIXED[tap.partition(":")[2]]
        if component not in fixed and component in primitives() and np.size(first[tap]) >= 20:
            checked.add(component)
            same = np.array_equal(first[tap], second[tap]) and np.array_equal(first[tap], third[tap])
            assert not same, tap
    assert checked == set(primitives()) - ABSENT - MOVES


def test_steps_without_a_choice_have_no_noise_but_that_of_the_format() -> None:
    runs = [local("float32", seed) for seed in range(3)]
    for tap, component in makers().items():
        if component in FIXED[""] and ":" not in tap:
            assert np.array_equal(runs[0][tap], runs[1][tap]), tap
            assert np.array_equal(runs[0][tap], runs[2][tap]), tap


def test_a_seed_draws_the_same_numbers_again() -> None:
    once, again = (local("bfloat16", 1) for _ in range(2))
    assert all(np.array_equal(once[tap], again[tap]) for tap in once)


def test_links_of_one_run_draw_different_numbers() -> None:
    kernels = [Realisation("float32", 0).kernels(place, {})["linear"] for place in (2, 3)]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((40, 30)).astype(np.float32), rng.standard_normal((20, 30)).astype(np.float32)
    y = [k.forward(x, w, None, ws=At("", "float32"), keep=False, xp=NUMPY)[0] for k in kernels]
    assert not np.array_equal(y[0], y[1])


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_everything_that_leaves_a_step_is_stored_in_the_format(precision: str) -> None:
    made = makers()
    for tap, array in local(precision, 0).items():
        if made.get(tap) in primitives() and tap != "loss":
            assert np.array_equal(array, rounded(array, precision)), tap


def test_one_step_may_be_stored_otherwise() -> None:
    stored = {"blocks.0.norm1": "float32", "blocks.0.mlp.act": "float16"}
    taps = local("bfloat16", 0, stored=stored)
    assert stored_in(taps["blocks.0.norm1"]) == "float32"
    assert stored_in(taps["blocks.0.mlp.act"]) == "float16"
    assert stored_in(taps["blocks.0.norm2"]) == "bfloat16"


def test_sums_kept_in_a_short_format_are_far_worse_and_sums_over_rows_alone_are() -> None:
    kept, wide = (local("bfloat16", 0, accumulate=on) for on in (True, False))
    for name in ("blocks.0.norm1.weight:grad", "blocks.0.norm1.bias:grad"):
        off = [float(np.linalg.norm(taps[name] - right()[name])) for taps in (kept, wide)]
        assert off[0] > 1.2 * off[1]
    assert np.array_equal(kept["blocks.0.norm1"], rounded(kept["blocks.0.norm1"], "bfloat16"))
    off = [float(np.linalg.norm(taps["blocks.0.norm1"] - right()["blocks.0.norm1"])) for taps in (kept, wide)]
    assert off[0] == pytest.approx(off[1], rel=0.2)


@pytest.mark.parametrize("name", FORMS)
def test_the_forms_are_right(name: str) -> None:
    p = a_problem(name, "float64")
    _, plain = p.reference.forward(*p.args, **p.static)
    for lines in FORMS[name]:
        part = edit.edited(name, lines)
        xp = SimpleNamespace(**vars(NUMPY), stored=lambda x: x)
        y, saved = part.forward(*p.args, **p.static, xp=xp)
        checks.close("y", y, p.expected, p.sizes.y, p.tolerance())
        expected = p.reference.backward(p.dy, plain)
        for found, right_, size in zip(
            part.backward(p.dy, saved, xp=xp), expected, p.sizes.grads, strict=True
        ):
            checks.close("gradient", found, right_, size, p.tolerance())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mistake_takes_the_place_of_every_form(seed: int) -> None:
    wrong = edit.edited("scores", ("xp.matmul(q * scale(q), -> xp.matmul(q,",))
    kernel = Realisation("float64", seed).kernels(0, {"scores": wrong})["scores"]
    ones = np.ones((1, 1, 2, 4))
    y, _ = kernel.forward(ones, ones, ws=At("", "float64"), keep=False, xp=NUMPY)
    assert np.array_equal(y, np.full((1, 1, 2, 2), 4.0))


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_any_axes(axis: Any, keepdims: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 7))
    xp = namespace(rng, np.float64)
    for name in ("sum", "mean"):
        found = getattr(xp, name)(x, axis=axis, keepdims=keepdims)
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        assert found.shape == expected.shape
        assert np.allclose(found, expected, rtol=0, atol=tolerance("float64", x.size) * np.linalg.norm(x))


def test_sums_of_nothing_and_of_one() -> None:
    xp = namespace(np.random.default_rng(0), np.float32)
    assert xp.sum(np.zeros((0, 3), np.float32), axis=0).tolist() == [0, 0, 0]
    assert xp.sum(np.ones((1, 3), np.float32), axis=0).tolist() == [1, 1, 1]
    assert xp.matmul(np.ones((2, 0), np.float32), np.ones((0, 3), np.float32)).tolist() == [[0] * 3] * 2


def test_tf32_rounds_the_operands_of_products_alone() -> None:
    xp = namespace(np.random.default_rng(0), np.float32, "tf32")
    one = np.full((1, 1), 1 + 2.0**-20, np.float32)
    assert xp.matmul(one, one)[0, 0] == 1
    assert xp.sum(one) == one[0, 0]
