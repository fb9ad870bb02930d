"""A second implementation of every component passes the vectors, and one with a planted bug does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verify.vectors import second
from tests.verify.vectors.reader import Array, Read, vectors

NAMES = sorted(second.COMPONENTS)


def of(folder: Path, name: str) -> list[Read]:
    return list(vectors(folder, lambda group: group["group"] == name and group["kind"] == "component"))


@pytest.mark.parametrize("name", NAMES)
def test_second_implementation_passes(pack: Path, name: str) -> None:
    for vector in of(pack, name):
        if vector.result != "rejected":
            with np.errstate(all="ignore"):
                found = second.run(name, vector.inputs, vector.settings)
            assert vector.wrong(found) == [], f"{vector.id}: {vector.note}"


@pytest.mark.parametrize("name", NAMES)
def test_second_implementation_refuses(pack: Path, name: str) -> None:
    for vector in of(pack, name):
        if vector.result == "rejected":
            with pytest.raises(ValueError, match=r".+"):
                second.check(name, vector.inputs, vector.settings)


def softmax_over_queries(x: Array) -> Array:
    if x.ndim < 2:
        return second.softmax(x)
    return np.swapaxes(second.softmax(np.swapaxes(x, -1, -2)), -1, -2)


def eps_outside_root(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return np.asarray(centred / (np.sqrt(variance) + eps) * weight + bias)


def bessel(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).sum(axis=-1, keepdims=True) / max(x.shape[-1] - 1, 1)
    return np.asarray(centred / np.sqrt(variance + eps) * weight + bias)


def scale_missing(q: Array, k: Array) -> Array:
    return np.asarray(second.scores(q, k) * np.sqrt(q.shape[-1]))


def quick_gelu(x: Array, form: str) -> Array:
    return np.asarray(x / (1 + np.exp(-1.702 * x)))


def heads_merged_without_permutation(x: Array) -> Array:
    n, heads, t, d = x.shape
    return x.reshape(n, t, heads * d)


def patches_by_columns(image: Array, patch_size: list[int]) -> Array:
    (h, w), (rows, columns) = patch_size, (s // p for s, p in zip(image.shape[2:], patch_size, strict=True))
    y = second.unfold(image, [h, w])
    return y[:, [i * columns + j for j in range(columns) for i in range(rows)]]


def loss_summed(x: Array, labels: Array) -> Array:
    return second.cross_entropy(x, labels) * len(x)


PLANTED: list[tuple[str, Any]] = [
    ("softmax", softmax_over_queries),
    ("layer_norm", eps_outside_root),
    ("layer_norm", bessel),
    ("scores", scale_missing),
    ("gelu", quick_gelu),
    ("merge_heads", heads_merged_without_permutation),
    ("unfold", patches_by_columns),
    ("cross_entropy", loss_summed),
]
"""Component, and what stands in its place: each has the name of a mistake of the catalogue."""


@pytest.mark.parametrize(("name", "wrong"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_planted_bug_fails_where_it_is_flagged(
    pack: Path, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = [vector for vector in of(pack, name) if vector.result != "rejected"]
    flagged = {vector.id for vector in right if wrong.__name__ in vector.flags}
    monkeypatch.setitem(second.COMPONENTS, name, wrong)
    with np.errstate(all="ignore"):
        failing = {v.id for v in right if v.wrong(second.run(name, v.inputs, v.settings))}
    assert flagged
    assert failing == flagged


def test_planted_bug_of_a_backward_pass_fails_where_it_is_flagged(pack: Path) -> None:
    right = [vector for vector in of(pack, "layer_norm") if vector.result != "rejected"]
    flagged = {vector.id for vector in right if "mean_of_g_xhat_missing" in vector.flags}
    assert flagged
    assert {v.id for v in right if "dx" in v.wrong({**v.expected, "dx": wrong_dx(v)})} == flagged


def wrong_dx(vector: Read) -> Array:
    """The gradient of a LayerNorm without the term that belongs to the variance."""
    x, g = vector.inputs["x"], vector.inputs["dy"] * vector.inputs["weight"]
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + vector.settings["eps"])
    return np.asarray(r * (g - g.mean(axis=-1, keepdims=True)))
