"""AdamW against numbers worked out by hand, against the scalar algorithm, and by its invariants."""

import math

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.training import adamw

RULE = {"rate": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "decay": 0.25}


def scalar_adamw(p: float, gradients: list[float], decay: float) -> float:
    """Algorithm 2 of arXiv:1711.05101 line by line, with schedule multiplier = rate and alpha = 1."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * g**2
        m_hat = m / (1.0 - math.pow(0.8, t))
        v_hat = v / (1.0 - math.pow(0.9, t))
        p = p - 0.1 * (m_hat / (math.sqrt(v_hat) + 1e-3) + decay * p)
    return p


def test_two_steps_by_hand() -> None:
    rule = {"rate": 0.5, "betas": (0.5, 0.5), "eps": 1.0, "decay": 0.0}
    p, state = adamw.update({"w": np.array([10.0])}, {"w": np.array([3.0])}, None, **rule)  # type: ignore[arg-type]
    assert p["w"] == pytest.approx(10 - 0.5 * 3 / (3 + 1), rel=1e-15)
    p, state = adamw.update(p, {"w": np.array([0.0])}, state, **rule)  # type: ignore[arg-type]
    # m = 3/4, v = 9/4; both over 1 - 1/4: 1 and 3
    assert p["w"] == pytest.approx(9.625 - 0.5 * 1 / (math.sqrt(3) + 1), rel=1e-15)
    assert state.step == 2


@pytest.mark.parametrize(
    ("name", "shape", "decay"),
    [
        ("blocks.0.attn.qkv.weight", (3, 2), 0.25),
        ("patch_embed.proj.weight", (3, 2, 1, 1), 0.25),
        ("blocks.0.norm1.weight", (6,), 0.0),
        ("head.bias", (6,), 0.0),
        ("cls_token", (1, 1, 6), 0.0),
        ("pos_embed", (1, 3, 2), 0.0),
    ],
)
def test_every_element_follows_the_scalar_algorithm(name: str, shape: tuple[int, ...], decay: float) -> None:
    draw = np.random.default_rng(0)
    start = draw.normal(size=shape)
    gradients = draw.normal(size=(5, *shape)) * 10.0 ** draw.uniform(-4, 4, shape)
    p: dict[str, HostArray] = {name: start}
    state = adamw.start(p)
    for g in gradients:
        p, state = adamw.update(p, {name: g}, state, **RULE)  # type: ignore[arg-type]
    rows = zip(start.ravel(), gradients.reshape(5, -1).T, strict=True)
    expected = [scalar_adamw(float(x), gs.tolist(), decay) for x, gs in rows]
    np.testing.assert_allclose(p[name].ravel(), expected, rtol=1e-13)


def test_nothing_given_is_changed_and_the_dtype_stays() -> None:
    p = {"w": np.full((2, 2), 3, np.float32)}
    g = {"w": np.full((2, 2), 2, np.float32)}
    state = adamw.start(p)
    for array in (p["w"], g["w"], state.mean["w"], state.square["w"]):
        array.setflags(write=False)
    new, later = adamw.update(p, g, state, **RULE)  # type: ignore[arg-type]
    assert {new["w"].dtype, later.mean["w"].dtype, later.square["w"].dtype} == {np.dtype(np.float32)}
    assert (state.step, later.step) == (0, 1)


def test_a_parameter_without_gradient_is_an_error() -> None:
    with pytest.raises(KeyError, match="w"):
        adamw.update({"w": np.ones(1)}, {}, None, **RULE)  # type: ignore[arg-type]


def test_scale_of_the_gradients_does_not_count() -> None:
    p, rule = {"w": np.array([1.0, -2.0])}, {**RULE, "eps": 0.0}
    g = np.array([0.5, -0.125])
    one, _ = adamw.update(p, {"w": g}, None, **rule)  # type: ignore[arg-type]
    other, _ = adamw.update(p, {"w": 1024 * g}, None, **rule)  # type: ignore[arg-type]
    np.testing.assert_array_equal(one["w"], other["w"])
    np.testing.assert_allclose(one["w"], p["w"] - 0.1 * np.sign(g), rtol=1e-15)
