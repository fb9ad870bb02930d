"""The Invariants of the components' docstrings, sentence by sentence, as checks.

`INVARIANTS[component]` maps each sentence to a function of a `Pass`, which gives pairs: a difference
that should be zero, and the size of the terms it is what remains of (0 for what holds exactly).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.testing.sizes import Sizes


@dataclass(frozen=True)
class Pass:
    """One pass forward and backward, as float64 arrays on the host.

    `args`, `grads` and `sizes.grads` are by argument name. `again(dy=..., static=..., **arguments)`
    repeats the pass with what is given put in place (of the static arguments, those that `static` names),
    and returns y and the gradients.
    """

    args: Mapping[str, Any]
    static: Mapping[str, Any]
    y: Any
    dy: Any
    grads: Mapping[str, Any]
    sizes: Sizes
    again: Callable[..., tuple[Any, Mapping[str, Any]]]


Claim = Iterator[tuple[Any, float]]
"""Differences that should be zero, each with the size of its terms."""


def _y_is_x(p: Pass) -> Claim:
    yield p.y - p.args["x"], 0.0


def _difference_is_the_branch(p: Pass) -> Claim:
    yield p.y - p.args["a"] - p.args["b"], _largest(p.args["a"]) + _largest(p.args["b"])


def _cotangents_are_dy(p: Pass) -> Claim:
    yield p.grads["a"] - p.dy, 0.0
    yield p.grads["b"] - p.dy, 0.0


def _linear_in(*names: str) -> Callable[[Pass], Claim]:
    """f(x + z) - f(x) - f(z) + f(0) = 0, for each of these arguments."""

    def claim(p: Pass) -> Claim:
        bias = p.args.get("bias")
        factors = [x for name, x in p.args.items() if x is not None and name != "bias"]
        size = max(max(x.shape) for x in factors) * np.prod([_largest(x) for x in factors])
        size += 0 if bias is None else _largest(bias)
        for name in names:
            x = p.args[name]
            z = np.flip(x)
            both, alone, nothing = (p.again(**{name: value})[0] for value in (x + z, z, 0 * x))
            yield both - p.y - alone + nothing, float(4 * size)

    return claim


def _pairs_agree(*names: str) -> Callable[[Pass], Claim]:
    """sum of argument x gradient = sum of y dy, for each of these arguments in which y is linear."""

    def claim(p: Pass) -> Claim:
        y = p.y if p.args.get("bias") is None else p.y - p.args["bias"]
        for name in names:
            x, dx = p.args[name], p.grads[name]
            size = np.sum(np.abs(x)) * p.sizes.grads[name] + np.sum(np.abs(p.dy)) * p.sizes.y
            yield np.sum(x * dx) - np.sum(y * p.dy), float(size)

    return claim


def _convolution(p: Pass) -> Claim:
    """The patches side by side as one image of a single row of patches, and a kernel moved over it."""
    x, weight, bias = p.args["x"], p.args["weight"], p.args["bias"]
    (n, tokens, _), (_, c, h, w) = x.shape, weight.shape
    image = np.concatenate([x[:, t].reshape(n, c, h, w) for t in range(tokens)], axis=3)
    for t in range(tokens):
        window = image[:, None, :, :, t * w : (t + 1) * w]
        y = np.sum(window * weight, axis=(2, 3, 4)) + (0 if bias is None else bias)
        yield p.y[:, t] - y, p.sizes.y


def _normalised(p: Pass) -> tuple[HostArray, HostArray, float]:
    """xhat, the variance v, and the size of the terms of xhat."""
    x, eps = p.args["x"], p.static["eps"]
    xhat, _ = p.again(weight=np.ones_like(p.args["weight"]), bias=np.zeros_like(p.args["bias"]))
    v = np.mean((x - np.mean(x, axis=-1, keepdims=True)) ** 2, axis=-1)
    size = _largest(np.max(np.abs(x), axis=-1) / np.sqrt(v + eps)) + 1
    return xhat, v, size


def _mean_is_zero(p: Pass) -> Claim:
    xhat, _, size = _normalised(p)
    yield np.mean(xhat, axis=-1), size


def _mean_square(p: Pass) -> Claim:
    xhat, v, size = _normalised(p)
    yield np.mean(xhat**2, axis=-1) - v / (v + p.static["eps"]), 2 * size * (1 + _largest(xhat))


def _gradient_sums_to_zero(p: Pass) -> Claim:
    yield np.sum(p.grads["x"], axis=-1), p.args["x"].shape[-1] * p.sizes.grads["x"]


def _odd_part(p: Pass) -> Claim:
    x = p.args["x"]
    yield p.y - p.again(x=-x)[0] - x, 2 * _largest(x)


def _nothing_at_zero(p: Pass) -> Claim:
    yield p.again(x=np.zeros_like(p.args["x"]))[0], 0.0


def _half_slope_at_zero(p: Pass) -> Claim:
    yield p.again(x=np.zeros_like(p.args["x"]))[1]["x"] - p.dy / 2, _largest(p.dy)


def _not_negative(p: Pass) -> Claim:
    yield np.minimum(p.y, 0), 0.0


def _above_its_minimum(p: Pass) -> Claim:
    at_minimum, _ = p.again(x=np.full_like(p.args["x"], -0.7525))
    yield np.minimum(p.y + 0.1701, 0), 0.0
    yield np.minimum(at_minimum + 0.1701, 0), 0.0


def _sums_to_one(p: Pass) -> Claim:
    yield np.sum(p.y, axis=-1) - 1, 1.0


def _shift_changes_nothing(p: Pass) -> Claim:
    x = p.args["x"]
    labels = p.static.get("labels", np.ones(1))
    yield p.again(x=x + 3)[0] - p.y, (_largest(x) + 4) * max(_largest(np.sum(labels, axis=-1)), 1.0)


def _keeps_squares(name: str) -> Callable[[Pass], Claim]:
    def claim(p: Pass) -> Claim:
        outputs = p.y if isinstance(p.y, tuple) else (p.y,)
        squares = float(np.sum(p.args[name] ** 2))
        yield sum(float(np.sum(y**2)) for y in outputs) - squares, squares

    return claim


def _backward_inverts(name: str) -> Callable[[Pass], Claim]:
    def claim(p: Pass) -> Claim:
        yield p.again(dy=p.y)[1][name] - p.args[name], 0.0

    return claim


def _unfold_without_remainder(p: Pass) -> Claim:
    (height, width), (h, w) = p.args["image"].shape[2:], p.static["patch_size"]
    if height % h == 0 and width % w == 0:
        yield from _keeps_squares("image")(p)
        yield from _backward_inverts("image")(p)


def _patches_follow_the_token(p: Pass) -> Claim:
    yield p.y[:, 1:] - p.args["x"], 0.0


def _first_row_is_the_token_alone(p: Pass) -> Claim:
    yield p.again(x=p.args["x"] + 1)[0][:, 0] - p.y[:, 0], 0.0


def _same_for_every_image(p: Pass) -> Claim:
    added = p.y - p.args["x"]
    yield added - added[:1], 2 * _largest(p.args["x"]) + _largest(p.args["table"])


def _other_rows_do_not_matter(p: Pass) -> Claim:
    x = p.args["x"]
    own = np.arange(x.shape[1])[:, None] == p.static["index"]
    yield p.again(x=np.where(own, x, x + 1))[0] - p.y, 0.0


def _constant_sequence(p: Pass) -> Claim:
    first = p.args["x"][:, :1]
    yield p.again(x=np.broadcast_to(first, p.args["x"].shape))[0] - first[:, 0], _largest(first)


def _tokens_share_dy(p: Pass) -> Claim:
    yield np.sum(p.grads["x"], axis=1) - p.dy, _largest(p.dy)


def _at_most_one(p: Pass) -> Claim:
    yield np.maximum(np.abs(p.y) - 1, 0), 0.0


def _odd(p: Pass) -> Claim:
    yield p.again(x=-p.args["x"])[0] + p.y, 0.0


def _evaluation_is_identity(p: Pass) -> Claim:
    static = {"mask": np.ones_like(p.static["mask"]), "rate": 0.0}
    yield p.again(static=static)[0] - p.args["x"], 0.0


def _own_transpose(p: Pass) -> Claim:
    yield p.again(x=p.dy)[0] - p.grads["x"], p.sizes.grads["x"]


def _dropped_images_are_zero(p: Pass) -> Claim:
    dropped = p.static["mask"] == 0
    yield p.y[dropped], 0.0
    yield p.grads["x"][dropped], 0.0


def _constant_table(p: Pass) -> Claim:
    x, table, static = p.args["x"], p.args["table"], p.static
    first = table[:, :1]
    y, _ = p.again(x=np.zeros_like(x), table=np.broadcast_to(first, table.shape))
    spread = np.prod([np.max(np.sum(np.abs(static[name]), axis=1)) for name in ("rows", "columns")])
    yield y - first, _largest(first) * float(spread)


def _identity_matrices(p: Pass) -> Claim:
    table = p.args["table"]
    x = np.zeros((p.args["x"].shape[0], *table.shape[1:]))
    unit = {name: np.eye(p.static[name].shape[1]) for name in ("rows", "columns")}
    y, grads = p.again(static=unit, x=x, dy=x + table)
    yield y - table, 0.0
    yield grads["table"] - len(x) * table, len(x) * _largest(table)


def _sigmoid_is_a_share(p: Pass) -> Claim:
    x = p.args["x"]
    _, grads = p.again(dy=np.array(float(len(x))), static={"labels": np.zeros(x.shape)})
    yield np.minimum(grads["x"], 0), 0.0
    yield np.maximum(grads["x"] - 1, 0), 0.0


def _largest(x: HostArray) -> float:
    return float(np.max(np.abs(x)))


INVARIANTS: dict[str, dict[str, Callable[[Pass], Claim]]] = {
    "add": {
        "y - a = b up to rounding": _difference_is_the_branch,
        "da and db are dy itself (one shared array)": _cotangents_are_dy,
    },
    "class_token": {
        "y[:, 1:] = x": _patches_follow_the_token,
        "y[:, 0] does not depend on x": _first_row_is_the_token_alone,
    },
    "context": {
        "y is linear in p and in v": _linear_in("p", "v"),
        "sum p dp = sum y dy = sum v dv": _pairs_agree("p", "v"),
    },
    "cross_entropy": {
        "y >= 0": _not_negative,
        "sum_k dx = 0": _gradient_sums_to_zero,
        "adding a constant to a row changes nothing": _shift_changes_nothing,
    },
    "drop_path": {
        "With a mask of ones and rate 0, y = x": _evaluation_is_identity,
        "a dropped image has y = 0 and dx = 0": _dropped_images_are_zero,
    },
    "dropout": {
        "With a mask of ones and rate 0, y = x": _evaluation_is_identity,
        "the map is its own transpose": _own_transpose,
    },
    "gelu": {
        "y(x) - y(-x) = x": _odd_part,
        "y(0) = 0": _nothing_at_zero,
        "y'(0) = 1/2": _half_slope_at_zero,
        "y >= -0.1701": _above_its_minimum,
    },
    "identity": {"y is x": _y_is_x},
    "layer_norm": {
        "mean_c xhat = 0": _mean_is_zero,
        "mean_c xhat^2 = v/(v + eps)": _mean_square,
        "sum_c dx = 0": _gradient_sums_to_zero,
    },
    "layer_scale": {
        "y is linear in x and in gamma": _linear_in("x", "gamma"),
        "sum_c gamma dgamma = sum x dx": _pairs_agree("x", "gamma"),
    },
    "linear": {
        "y is linear in x": _linear_in("x"),
        "dy weight is the transpose of the forward map": _pairs_agree("x"),
    },
    "mean_pool": {
        "A constant sequence gives that constant": _constant_sequence,
        "sum_t dx_t = dy": _tokens_share_dy,
    },
    "merge_heads": {
        "sum y^2 = sum x^2": _keeps_squares("x"),
        "backward(forward(x)) = x": _backward_inverts("x"),
    },
    "patch_projection": {
        "unfold + patch_projection = convolution of stride (h, w) without padding": _convolution,
    },
    "position_embedding": {"y - x is the same for every image": _same_for_every_image},
    "resized_position_embedding": {
        "Rows of A and B sum to 1, so a constant table stays constant": _constant_table,
        "identity matrices give `position_embedding`": _identity_matrices,
    },
    "scores": {
        "s is linear in q and in k": _linear_in("q", "k"),
        "sum q dq = sum s ds = sum k dk": _pairs_agree("q", "k"),
    },
    "select_token": {"y does not depend on any other row": _other_rows_do_not_matter},
    "sigmoid_cross_entropy": {"y >= 0": _not_negative, "0 <= sigmoid <= 1": _sigmoid_is_a_share},
    "softmax": {
        "y >= 0": _not_negative,
        "sum_k y = 1": _sums_to_one,
        "sum_k dx = 0": _gradient_sums_to_zero,
        "adding a constant to a row changes nothing": _shift_changes_nothing,
    },
    "split_heads": {
        "sum q^2 + sum k^2 + sum v^2 = sum qkv^2": _keeps_squares("qkv"),
        "backward(forward(qkv)) = qkv": _backward_inverts("qkv"),
    },
    "tanh": {"|y| <= 1": _at_most_one, "y(-x) = -y(x)": _odd},
    "unfold": {
        "With H = R h and W = S w: sum y^2 = sum image^2, backward(forward(image)) = image": (
            _unfold_without_remainder
        ),
    },
}
"""Component: sentence of its docstring, and the check of it."""
