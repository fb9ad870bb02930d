"""The components a second time, for the vectors alone: no vitref code.

Forward passes are plain NumPy that complex numbers pass through; gradients are their derivatives, element by
element, by complex step, so that no backward formula is shared. What does not fit is refused by a
table of shapes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special  # type: ignore[import-untyped]

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Result = dict[str, Array]

STEP = 1e-30


def add(a: Array, b: Array) -> Array:
    return np.asarray(a + b)


def identity(x: Array) -> Array:
    return x


def class_token(x: Array, token: Array) -> Array:
    return np.stack([np.vstack([token[0], image]) for image in x])


def context(p: Array, v: Array) -> Array:
    return np.asarray(np.sum(p[..., None] * v[..., None, :, :], axis=-2))


def shares(x: Array, labels: Array) -> Array:
    """Labels as numbers of the shape of x."""
    return np.asarray(np.eye(x.shape[1])[labels]) if labels.ndim == 1 else labels


def cross_entropy(x: Array, labels: Array) -> Array:
    shifted = x - x.real.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(-np.sum(shares(x, labels) * log_p) / len(x))


def sigmoid_cross_entropy(x: Array, labels: Array) -> Array:
    size = np.where(x.real > 0, x, -x)
    log_sum = np.where(x.real > 0, x, 0 * x) + np.log1p(np.exp(-size))
    return np.asarray(np.sum(log_sum - shares(x, labels) * x) / len(x))


def dropout(x: Array, mask: Array, rate: float) -> Array:
    return np.where(mask == 1, x / (1 - rate), 0)


def drop_path(x: Array, mask: Array, rate: float) -> Array:
    return np.stack([image / (1 - rate) if kept else 0 * image for image, kept in zip(x, mask, strict=True)])


def gelu(x: Array, form: str) -> Array:
    if form == "erf":
        return np.asarray(x * scipy.special.erfc(-x / math.sqrt(2)) / 2)
    return np.asarray(x / 2 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def tanh(x: Array) -> Array:
    """By one exponential, which does not overflow."""
    size = np.where(x.real > 0, x, -x)
    less = np.expm1(-2 * size)
    return np.asarray(np.where(x.real > 0, 1, -1) * (-less / (2 + less)))


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    centred = x - x.sum(axis=-1, keepdims=True) / x.shape[-1]
    variance = (centred * centred).sum(axis=-1, keepdims=True) / x.shape[-1]
    return np.asarray(centred / np.sqrt(variance + eps) * weight + bias)


def layer_scale(x: Array, gamma: Array) -> Array:
    return np.asarray(x * gamma)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    y = np.tensordot(x, weight, axes=(-1, 1))
    return y if bias is None else y + bias


def patch_projection(x: Array, weight: Array, bias: Array | None) -> Array:
    return linear(x, weight.reshape(len(weight), -1), bias)


def mean_pool(x: Array, start: int) -> Array:
    return np.asarray(sum(x[:, t] for t in range(start, x.shape[1])) / (x.shape[1] - start))


def select_token(x: Array, index: int) -> Array:
    return np.asarray(x[:, index])


def split_heads(qkv: Array, heads: int) -> tuple[Array, ...]:
    parts = np.split(qkv, 3 * heads, axis=-1)
    return tuple(np.stack(parts[i * heads : (i + 1) * heads], axis=1) for i in range(3))


def merge_heads(x: Array) -> Array:
    return np.concatenate([x[:, head] for head in range(x.shape[1])], axis=-1)


def position_embedding(x: Array, table: Array) -> Array:
    return np.stack([image + table[0] for image in x])


def resized_position_embedding(x: Array, table: Array, rows: Array, columns: Array, prefix: int) -> Array:
    grid = table[0, prefix:].reshape(rows.shape[1], columns.shape[1], -1)
    places = np.einsum("ik,kmd,jm->ijd", rows, grid, columns).reshape(-1, table.shape[-1])
    return np.stack([image + np.vstack([table[0, :prefix], places]) for image in x])


def scores(q: Array, k: Array) -> Array:
    return np.asarray(np.sum(q[..., :, None, :] * k[..., None, :, :], axis=-1) / math.sqrt(q.shape[-1]))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def unfold(image: Array, patch_size: list[int]) -> Array:
    (h, w), (height, width) = patch_size, image.shape[2:]
    corners = [(i, j) for i in range(0, height - h + 1, h) for j in range(0, width - w + 1, w)]
    return np.stack([image[:, :, i : i + h, j : j + w].reshape(len(image), -1) for i, j in corners], axis=1)


COMPONENTS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(add, identity, class_token, context, cross_entropy, sigmoid_cross_entropy, dropout, drop_path),
        *(gelu, tanh, layer_norm, layer_scale, linear, patch_projection, mean_pool, select_token),
        *(split_heads, merge_heads, position_embedding, resized_position_embedding, scores, softmax, unfold),
    )
}

SHAPES: dict[str, dict[str, str]] = {
    "add": {"a": "*s", "b": "*s"},
    "identity": {"x": "*s"},
    "class_token": {"x": "N T D", "token": "1 1 D"},
    "context": {"p": "*s Q K", "v": "*s K d"},
    "cross_entropy": {"x": "N C", "labels": "N C"},
    "sigmoid_cross_entropy": {"x": "N C", "labels": "N C"},
    "dropout": {"x": "*s", "mask": "*s"},
    "drop_path": {"x": "N *s", "mask": "N"},
    "gelu": {"x": "*s"},
    "tanh": {"x": "*s"},
    "layer_norm": {"x": "*s C", "weight": "C", "bias": "C"},
    "layer_scale": {"x": "*s C", "gamma": "C"},
    "linear": {"x": "*s I", "weight": "O I", "bias": "O"},
    "patch_projection": {"x": "N T P", "weight": "D c h w", "bias": "D"},
    "mean_pool": {"x": "N T D"},
    "select_token": {"x": "N T D"},
    "split_heads": {"qkv": "N T C"},
    "merge_heads": {"x": "N h T d"},
    "position_embedding": {"x": "N T D", "table": "1 T D"},
    "resized_position_embedding": {"x": "N T D", "table": "1 U D", "rows": "r R", "columns": "s S"},
    "scores": {"q": "*s Q d", "k": "*s K d"},
    "softmax": {"x": "*s K"},
    "unfold": {"image": "N C H W"},
}
"""Component -> argument -> its axes; a letter has one value throughout, "*s" stands for any axes."""


def bound(shapes: Mapping[str, tuple[int, ...]], axes: Mapping[str, str]) -> dict[str, Any]:
    """What each letter stands for. Raises ValueError where it would have to stand for two things."""
    found: dict[str, Any] = {}
    for name, shape in shapes.items():
        letters: list[str] = axes[name].split()
        values: list[Any] = list(shape)
        if "*s" in letters:
            place, extra = letters.index("*s"), len(values) - len(letters) + 1
            values[place : place + max(extra, 0)] = [tuple(values[place : place + max(extra, 0)])]
        if len(letters) != len(values):
            raise ValueError(f"{name} has {len(shape)} axes")
        for letter, value in zip(letters, values, strict=True):
            if found.setdefault(letter, int(letter) if letter.isdigit() else value) != value:
                raise ValueError(f"{name}: {letter} is {value}, elsewhere {found[letter]}")
    return found


def check(name: str, inputs: Arrays, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments that the component does not take."""
    axes = dict(SHAPES[name])
    if "labels" in inputs and inputs["labels"].ndim == 1:
        axes["labels"] = "N"
    n = {**bound({key: inputs[key].shape for key in axes if key in inputs}, axes), **settings}
    conditions: dict[str, Callable[[], bool]] = {
        "cross_entropy": lambda: n["N"] > 0 and n["C"] > 0,
        "sigmoid_cross_entropy": lambda: n["N"] > 0 and n["C"] > 0,
        "dropout": lambda: 0 <= n["rate"] < 1,
        "drop_path": lambda: 0 <= n["rate"] < 1,
        "gelu": lambda: n["form"] in ("erf", "tanh"),
        "patch_projection": lambda: n["P"] == n["c"] * n["h"] * n["w"],
        "mean_pool": lambda: 0 <= n["start"] < n["T"],
        "select_token": lambda: 0 <= n["index"] < n["T"],
        "split_heads": lambda: n["C"] % (3 * n["heads"]) == 0,
        "softmax": lambda: n["K"] > 0,
        "unfold": lambda: n["patch_size"][0] <= n["H"] and n["patch_size"][1] <= n["W"],
        "resized_position_embedding": lambda: (
            (n["T"], n["U"]) == (n["prefix"] + n["r"] * n["s"], n["prefix"] + n["R"] * n["S"])
        ),
    }
    if name in conditions and not conditions[name]():
        raise ValueError(f"{name} does not take {n}")


def run(name: str, inputs: Arrays, settings: Mapping[str, Any]) -> Result:
    """Outputs and gradients by name. Raises ValueError as `check` does."""
    check(name, inputs, settings)
    function = COMPONENTS[name]
    several = name == "split_heads"
    dy = [inputs[f"d{part}"] for part in "qkv"] if several else [inputs["dy"]]
    fixed = {key: inputs[key] for key in ("labels", "mask", "rows", "columns") if key in inputs}
    moving = {key: array for key, array in inputs.items() if key in SHAPES[name] and key not in fixed}
    absent = dict.fromkeys(("bias",) if "bias" in SHAPES[name] and "bias" not in inputs else ())

    def outputs(**changed: Array) -> tuple[Array, ...]:
        y = function(**{**moving, **changed}, **fixed, **absent, **settings)
        return y if several else (y,)

    found = dict(zip("qkv" if several else "y", outputs(), strict=True))
    return found | {f"d{key}": gradient(outputs, key, moving[key], dy) for key in moving}


def gradient(outputs: Callable[..., tuple[Array, ...]], key: str, x: Array, dy: list[Array]) -> Array:
    """The derivative of <dy, y> by each element of one argument."""
    found = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[at] += 1j * STEP
        y = outputs(**{key: moved})
        found[at] = sum(float(np.sum(d * part.imag)) for d, part in zip(dy, y, strict=True)) / STEP
    return found
