"""Wrong scores and contexts, and heads split or merged wrongly."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake, T, square
from vitref.array import NUMPY, Array
from vitref.components import context, merge_heads, scores, split_heads


def scaled_by(scale: Callable[[Array], float]) -> dict[str, Callable[..., Any]]:
    """A right pair for any scale."""

    def forward(q: Array, k: Array, *, xp: Any = NUMPY) -> Any:
        return np.matmul(q, T(k)) * scale(q), scores.Saved(q, k)

    def backward(ds: Array, saved: scores.Saved, *, xp: Any = NUMPY) -> Any:
        q, k = saved
        return scores.Grads(np.matmul(ds, k) * scale(q), np.matmul(T(ds), q) * scale(q))

    return {"forward": forward, "backward": backward}


def heads_times_width(q: Array) -> float:
    return float((q.shape[-1] * (q.shape[-3] if q.ndim > 2 else 1)) ** -0.5)


def unscaled(name: str) -> Callable[..., Any]:
    def backward(ds: Array, saved: scores.Saved, *, xp: Any = NUMPY) -> Any:
        right = scores.backward(ds, saved)
        return right._replace(**{name: getattr(right, name) / scores.scale(saved.q)})

    return backward


def turned_scores(q: Array, k: Array, *, xp: Any = NUMPY) -> Any:
    s, saved = scores.forward(q, k)
    return T(s) if square(s) else s, saved


def turned_scores_back(ds: Array, saved: scores.Saved, *, xp: Any = NUMPY) -> Any:
    return scores.backward(T(ds) if square(ds) else ds, saved)


def exchanged(ds: Array, saved: scores.Saved, *, xp: Any = NUMPY) -> Any:
    dq, dk = scores.backward(ds, saved)
    return scores.Grads(dk, dq) if dq.shape == dk.shape else scores.Grads(dq, dk)


def turned_weights(p: Array, v: Array, *, xp: Any = NUMPY) -> Any:
    return context.forward(T(p) if square(p) else p, v)


def turned_weights_back(dy: Array, saved: context.Saved, *, xp: Any = NUMPY) -> Any:
    dp, dv = context.backward(dy, saved)
    return context.Grads(T(dp) if square(dp) else dp, dv)


def untransposed_in_dv(dy: Array, saved: context.Saved, *, xp: Any = NUMPY) -> Any:
    right = context.backward(dy, saved)
    return right._replace(v=np.matmul(saved.p, dy)) if square(saved.p) else right


def split_by(axes: tuple[int, ...], *lengths: str) -> dict[str, Callable[..., Any]]:
    """A split that reads the axes of qkv in another order: a permutation, so its inverse is its transpose."""

    def forward(qkv: Array, *, heads: int, xp: Any = NUMPY) -> Any:
        n, t, width = qkv.shape
        known = {"n": n, "t": t, "three": 3, "heads": heads, "d": width // (3 * heads)}
        y = np.permute_dims(np.reshape(qkv, [known[length] for length in lengths]), axes)
        return (y[0], y[1], y[2]), None

    def backward(dy: Any, saved: None, *, xp: Any = NUMPY) -> Any:
        n, heads, t, d = dy[0].shape
        x = np.permute_dims(np.stack(dy), np.argsort(axes).tolist())
        return split_heads.Grads(np.reshape(x, (n, t, 3 * heads * d)))

    return {"forward": forward, "backward": backward}


def merged_without_permutation(x: Array, *, xp: Any = NUMPY) -> Any:
    n, heads, t, d = x.shape
    return np.reshape(x, (n, t, heads * d)), merge_heads.Saved(heads)


def merged_without_permutation_back(dy: Array, saved: merge_heads.Saved, *, xp: Any = NUMPY) -> Any:
    n, t, width = dy.shape
    return merge_heads.Grads(np.reshape(dy, (n, saved.heads, t, width // saved.heads)))


MISTAKES = [
    Mistake(scores, "scale of the whole width", ("oracle",), **scaled_by(heads_times_width)),
    Mistake(scores, "no scale", ("oracle",), **scaled_by(lambda q: 1.0)),
    Mistake(scores, "scale twice", ("oracle",), **scaled_by(lambda q: 1 / q.shape[-1])),
    Mistake(scores, "scale forgotten in dq", ("adjoint", "invariants"), backward=unscaled("q")),
    Mistake(scores, "scale forgotten in dk", ("adjoint", "invariants"), backward=unscaled("k")),
    Mistake(scores, "q and k exchanged", ("oracle",), turned_scores, turned_scores_back),
    Mistake(scores, "dq and dk exchanged", ("adjoint",), backward=exchanged),
    Mistake(context, "p transposed", ("oracle",), turned_weights, turned_weights_back),
    Mistake(context, "dp transposed", ("adjoint",), backward=turned_weights_back),
    Mistake(context, "p not transposed in dv", ("adjoint",), backward=untransposed_in_dv),
    Mistake(
        split_heads,
        "no permutation",
        ("oracle",),
        **split_by((2, 0, 1, 3, 4), "n", "heads", "three", "t", "d"),
    ),
    Mistake(
        split_heads,
        "q, k, v interleaved per head",
        ("oracle",),
        **split_by((3, 0, 2, 1, 4), "n", "t", "heads", "three", "d"),
    ),
    Mistake(
        split_heads,
        "heads innermost",
        ("oracle",),
        **split_by((2, 0, 4, 1, 3), "n", "t", "three", "d", "heads"),
    ),
    Mistake(
        split_heads,
        "not undone in backward",
        ("adjoint", "invariants"),
        backward=split_by((2, 0, 1, 3, 4), "n", "heads", "three", "t", "d")["backward"],
    ),
    Mistake(
        merge_heads,
        "no permutation",
        ("oracle",),
        merged_without_permutation,
        merged_without_permutation_back,
    ),
    Mistake(
        merge_heads,
        "not undone in backward",
        ("adjoint", "invariants"),
        backward=merged_without_permutation_back,
    ),
]
