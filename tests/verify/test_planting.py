"""How a mistake gets into a model, and how it is told that it has no place in one."""

import time
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.array import HostArray
from vitref.config import Config
from vitref.testing import tolerance
from vitref.verify import mistakes, passes, probes
from vitref.verify.mistakes import Case, orders

BOUND = 1e-9
ALIKE = [
    pytest.param(mistake.name, other, id=f"{mistake.name}-{other}")
    for mistake in mistakes.CATALOGUE.values()
    for other in mistake.alike
    if mistake.name < other
]


@cache
def cases() -> dict[str, Case]:
    return probes.cases()


def output(case: Case) -> HostArray:
    name = passes.final(case)
    run, _ = passes.forward(case, passes.arrays(case), keep=False, record=frozenset([name]))
    return np.asarray(run.taps[name])


def differ(a: HostArray, b: HostArray) -> bool:
    return float(np.linalg.norm(a - b)) > BOUND * float(np.linalg.norm(b))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_mistakes_that_are_alike_have_the_same_outputs(one: str, other: str) -> None:
    first, second = mistakes.find(one), mistakes.find(other)
    same = []
    for right in cases().values():
        planted = mistakes.plant(first, right), mistakes.plant(second, right)
        outputs = [output(case) for case in planted]
        if any(differ(found, output(right)) for found in outputs) and not any(c is right for c in planted):
            same.append(not differ(*outputs))
    assert any(same)
    assert bool(first.alike_on) or all(same)


def test_what_does_not_apply_leaves_the_very_case() -> None:
    square, token = cases()["square"], cases()["token"]
    for name in (
        "class_token_last",
        "qkv_bias_missing",
        "layer_scale_skipped",
        "resize_bilinear",
        "zero_head",
    ):
        assert mistakes.plant(mistakes.find(name), square) is square
        assert mistakes.touches(mistakes.find(name), square.weights.config) == frozenset()
    for name in ("dropout_without_scale", "loss_summed", "bilinear_for_bicubic", "imagenet_statistics"):
        assert mistakes.plant(mistakes.find(name), token) is token
    same = mistakes.plant(mistakes.find("eps_1e-5"), token)
    assert same is token


@pytest.mark.parametrize("name", probes.MODELS)
def test_every_mistake_can_be_tried_on_every_model(name: str) -> None:
    right = cases()[name]
    for mistake in mistakes.CATALOGUE.values():
        planted = mistakes.plant(mistake, right)
        there = mistakes.touches(mistake, right.weights.config)
        assert there is not None
        if not there:
            assert planted is right


def test_what_is_touched_is_told_by_component_or_step() -> None:
    config = cases()["token"].weights.config
    touched = {
        "bessel": {"layer_norm"},
        "post_norm": {"block"},
        "eps_1e-3": {"layer_norm"},
        "gelu_tanh_for_erf": {"gelu"},
        "one_head": {"split_heads"},
        "kernel_hwio": {"patch_embed.proj"},
        "positions_missing": {"pos_embed"},
        "proj_bias_missing": {"blocks.0.attn.proj", "blocks.1.attn.proj"},
        "blocks_reversed": {step for i in range(2) for step in block_steps(i)},
        "bgr": {"image"},
    }
    for name, expected in touched.items():
        assert set(mistakes.touches(mistakes.find(name), config) or ()) == expected


def block_steps(i: int) -> set[str]:
    return {
        f"blocks.{i}.{step}" for step in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    }


@pytest.mark.parametrize("name", ["token", "square", "pooled"])
def test_nothing_moves_before_what_is_touched(name: str) -> None:
    right = cases()[name]
    recorded = passes.recorded(right)
    for mistake in list(mistakes.CATALOGUE.values())[::5]:
        touched, planted = mistakes.touches(mistake, right.weights.config), mistakes.plant(mistake, right)
        if mistake.tensors and planted is not right:
            differences = passes.differences(passes.recorded(planted), recorded)
            moved = [tap for tap, error in differences.items() if error > BOUND and ":" not in tap]
            first = moved[0] if moved else ""
            assert any(fnmatch(first, step) or first.startswith(step) for step in touched or ()), mistake.name


def test_touching_is_cheap_for_a_large_model() -> None:
    config = Config.variant("ViT-B/16", convention="timm")
    start = time.perf_counter()
    for mistake in mistakes.CATALOGUE.values():
        mistakes.touches(mistake, config)
    assert time.perf_counter() - start < 20
    start = time.perf_counter()
    for mistake in mistakes.CATALOGUE.values():
        mistakes.touches(mistake, config)
    assert time.perf_counter() - start < 0.5


def test_a_constant_is_given_or_typical() -> None:
    right, mistake = cases()["token"], mistakes.find("scores_by_a_factor")
    assert mistake.free is not None
    typical, given = mistakes.plant(mistake, right), mistakes.plant(mistake, right, 1 / 2.0)
    assert not differ(output(typical), output(mistakes.plant(mistake, right, mistake.free.typical)))
    missing = mistakes.plant(mistakes.find("scale_inverted"), right)
    assert not differ(output(mistakes.plant(mistake, right, 4.0)), output(missing))  # heads are 4 wide
    assert differ(output(given), output(typical))
    assert "+    return 4.0 * float(width**-0.5)" in mistake.difference(4)


def test_the_constant_of_a_setting() -> None:
    right, eps = cases()["token"], mistakes.find("eps")
    assert mistakes.plant(eps, right, 1e-3).weights.config.eps == 1e-3
    assert mistakes.plant(eps, right, right.weights.config.eps) is right


def test_the_constant_of_pixels() -> None:
    right = cases()["pictures"]
    factor = mistakes.plant(mistakes.find("pixels_by_a_factor"), right, 2.0)
    np.testing.assert_allclose(factor.image, 2 * passes.arrays(right)["image"], rtol=tolerance("float64"))
    given = right._replace(image=passes.arrays(right)["image"])
    again = mistakes.plant(mistakes.find("pixels_by_a_factor"), given, 2.0)
    np.testing.assert_array_equal(again.image, factor.image)


def test_pixels_that_are_preprocessed_already_are_changed_alike() -> None:
    right = cases()["squashed"]
    given = right._replace(image=passes.arrays(right)["image"])
    for mistake in mistakes.FAMILIES["colours"]:
        if mistake.on_arrays:
            a, b = mistakes.plant(mistake, right), mistakes.plant(mistake, given)
            found, expected = (passes.arrays(case)["image"] for case in (b, a))
            off = np.linalg.norm(found - expected)
            assert off <= tolerance("float64") * np.linalg.norm(expected), mistake.name


def test_two_mistakes_are_planted_one_after_the_other() -> None:
    right = cases()["token"]
    bessel, masked, eps = map(mistakes.find, ("bessel", "causal_mask", "eps_1e-3"))
    both = mistakes.plant(masked, mistakes.plant(bessel, mistakes.plant(eps, right)))
    kernels: dict[str, Any] = dict(both.backend.kernels)
    assert set(kernels) == {"layer_norm", "softmax"}
    assert both.weights.config.eps == 1e-3
    assert differ(output(both), output(mistakes.plant(masked, right)))
    other_order = mistakes.plant(eps, mistakes.plant(bessel, mistakes.plant(masked, right)))
    assert not differ(output(both), output(other_order))


def test_two_mistakes_in_one_component() -> None:
    right = cases()["token"]
    backward = mistakes.plant(mistakes.find("scale_missing_in_dq"), right)
    both = mistakes.plant(mistakes.find("scale_of_width"), backward)
    assert differ(output(both), output(backward))
    with pytest.raises(vitref.ConfigError, match="0 places"):
        mistakes.plant(mistakes.find("scale_missing"), mistakes.plant(mistakes.find("scale_inverted"), right))


def test_a_row_with_needs_is_skipped_where_they_are_not_met() -> None:
    harmful = replace(mistakes.find("bessel"), needs=("layer_scale",))
    assert mistakes.plant(harmful, cases()["token"]) is cases()["token"]
    assert mistakes.plant(harmful, cases()["pooled"]) is not cases()["pooled"]


def test_each_order_of_patches_has_all_of_them() -> None:
    for order in (
        orders.serpentine,
        orders.backwards,
        orders.mirrored,
        orders.upside_down,
        orders.in_blocks,
        orders.down_columns,
    ):
        for grid in ((2, 3), (3, 3), (1, 5)):
            there = order(*grid)
            assert sorted(there) == list(range(grid[0] * grid[1]))
            assert [there[place] for place in orders.inverse(there)] == sorted(there)
    assert orders.in_blocks(3, 3) == [0, 1, 3, 4, 2, 5, 6, 7, 8]
    assert orders.serpentine(2, 3) == [0, 1, 2, 5, 4, 3]
