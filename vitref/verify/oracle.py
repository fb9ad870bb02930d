"""A second forward pass of the ViT, to check the graph against: no vitref code, and different in form.

It takes one image, one patch, one head and one query at a time, where the graph works on whole
batches; the published equations (arXiv:2010.11929, eq. 1 to 4) are all that the two have in common. The
bits of a training pass are given: masks are inputs. Of a `Config` it reads the settings as they were
given, not what vitref derives from them.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vitref.verify import interpolation

if TYPE_CHECKING:
    from vitref.config import Config

HostArray = npt.NDArray[Any]
Arrays = Mapping[str, HostArray]
Drop = Callable[[str, HostArray, float], HostArray]
"""(path, x of one image, rate) -> x, some of its elements dropped and the others scaled up."""


def forward(config: "Config", p: Arrays, images: HostArray, train: Any = None) -> dict[str, HostArray]:
    """Named outputs -> arrays with the batch axis.

    `mlp.act` is not among them: far below 0 the graph's GELU is exact against x, not against itself.
    """
    one_by_one = [_forward(config, p, image, _dropping(train, n), train) for n, image in enumerate(images)]
    return {name: np.stack([taps[name] for taps in one_by_one]) for name in one_by_one[0]}


def loss(logits: HostArray, labels: HostArray, kind: str) -> HostArray:
    """The mean over images of logits (N, classes) against numbers of the same shape."""
    if kind == "sigmoid":
        yes, no = np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))
        each = [math.fsum(row) for row in yes * labels + no * (1 - labels)]
    else:
        each = [t @ (np.log(np.exp(row).sum()) - row) for row, t in zip(logits, labels, strict=True)]
    return np.asarray(np.mean(each))


def _dropping(train: Any, image: int) -> Drop:
    """What is dropped of image `image` of this pass: its bits are those of a batch of this image alone."""

    def drop(path: str, x: HostArray, rate: float) -> HostArray:
        if not rate:
            return x
        alone = type(train)(seed=train.seed, step=train.step, first=train.first + image)
        kept = alone.mask(path, (1, *x.shape), rate)[0]
        return np.where(kept, x / (1 - rate), 0.0)

    return drop


def _forward(config: "Config", p: Arrays, image: HostArray, drop: Drop, train: Any) -> dict[str, HostArray]:
    rate, path_rate = (train.dropout, train.drop_path) if train else (0.0, 0.0)
    x = drop("pos_drop", _embed(config, p, image), rate)
    taps = {"embed": x}
    for i in range(config.depth):
        block = f"blocks.{i}"
        share = path_rate * i / max(config.depth - 1, 1)
        a = taps[f"{block}.norm1"] = _normalise(config, p, f"{block}.norm1", x)
        a = _attention(config, p, f"{block}.attn", a, taps, drop, train)
        a = taps[f"{block}.attn"] = drop(f"{block}.attn.proj_drop", a, rate)
        x = taps[f"{block}.add1"] = x + _branch(config, p, block, 1, a, drop, share)
        m = taps[f"{block}.norm2"] = _normalise(config, p, f"{block}.norm2", x)
        m = drop(f"{block}.mlp.drop1", _gelu(config, _affine(p, f"{block}.mlp.fc1", m)), rate)
        m = taps[f"{block}.mlp"] = drop(f"{block}.mlp.drop2", _affine(p, f"{block}.mlp.fc2", m), rate)
        x = taps[block] = x + _branch(config, p, block, 2, m, drop, share)
    return taps | _head(config, p, x, drop, rate)


def _embed(config: "Config", p: Arrays, image: HostArray) -> HostArray:
    grid, table = _grid(config, image), p["pos_embed"][0]
    prefix = 1 if config.class_token and config.class_position else 0
    places = interpolation.table(table[prefix:], config.position_grid, grid, config.position_resize)
    x = [patch + place for patch, place in zip(_patches(config, p, image), places, strict=True)]
    if config.class_token:
        x.insert(0, p["cls_token"][0, 0] + (table[0] if prefix else 0))
    return np.stack(x)


def _branch(
    config: "Config", p: Arrays, block: str, which: int, x: HostArray, drop: Drop, share: float
) -> HostArray:
    """What is added to the residual: x, each channel scaled, all of it kept or none."""
    if config.layer_scale:
        x = x @ np.diag(p[f"{block}.ls{which}.gamma"])
    return x * drop(f"{block}.drop_path{which}", np.ones(()), share)


def _head(config: "Config", p: Arrays, x: HostArray, drop: Drop, rate: float) -> dict[str, HostArray]:
    taps: dict[str, HostArray] = {}
    if config.final_norm == "tokens":
        x = taps["norm"] = _normalise(config, p, "norm", x)
    pooled = x[1:] if config.pool == "mean" and config.class_token else x
    y = x[0] if config.pool == "token" else sum(pooled[1:], start=pooled[0]) / len(pooled)
    taps |= {"tokens": x, "pool": y}
    if config.final_norm == "pooled":
        y = taps["fc_norm"] = _normalise(config, p, "fc_norm", y[None])[0]
    if config.pre_logits:
        y = 1 - 2 / (np.exp(2 * _affine(p, "pre_logits.fc", y)) + 1)
    taps["pooled"] = y
    y = taps["head_input"] = drop("head_drop", y, rate)
    if config.classes:
        taps["logits"] = _affine(p, "head", y)
    return taps


def _grid(config: "Config", image: HostArray) -> tuple[int, int]:
    """Rows and columns of whole patches; pixels that are left over at the bottom and right do not count."""
    (h, w), (height, width) = config.patch_size, image.shape[1:]
    return height // h, width // w


def _patches(config: "Config", p: Arrays, image: HostArray) -> list[HostArray]:
    (rows, columns), (h, w), kernel = _grid(config, image), config.patch_size, p["patch_embed.proj.weight"]
    corners = [(r * h, c * w) for r in range(rows) for c in range(columns)]
    pixels = [image[:, top : top + h, left : left + w] for top, left in corners]
    return [np.tensordot(kernel, patch, axes=3) + p["patch_embed.proj.bias"] for patch in pixels]


def _normalise(config: "Config", p: Arrays, name: str, x: HostArray) -> HostArray:
    z = (x.T - x.mean(axis=1)) / np.sqrt(x.var(axis=1) + config.eps)
    y: HostArray = np.einsum("ct,c->tc", z, p[f"{name}.weight"]) + p[f"{name}.bias"]
    return y


def _attention(
    config: "Config", p: Arrays, name: str, x: HostArray, taps: dict[str, HostArray], drop: Drop, train: Any
) -> HostArray:
    d, qkv, weights = config.head_dim, [], []
    for head in range(config.heads):
        q, k, v = (_rows(config, p, f"{name}.qkv", x, (part * config.heads + head) * d) for part in range(3))
        weight = np.stack([np.exp(k @ query / np.sqrt(d)) for query in q])
        weights.append((weight.T / weight.sum(axis=1)).T)
        qkv.append((q, k, v))
    taps[f"{name}.softmax"] = np.stack(weights)
    kept = drop(f"{name}.attn_drop", np.stack(weights), train.attention_dropout if train else 0.0)
    merged = [
        np.stack([sum(w_j * v_j for w_j, v_j in zip(w, v, strict=True)) for w in weight])
        for weight, (_, _, v) in zip(kept, qkv, strict=True)
    ]
    taps[f"{name}.context"] = np.stack(merged)
    return _affine(p, f"{name}.proj", np.hstack(merged))


def _rows(config: "Config", p: Arrays, name: str, x: HostArray, first: int) -> HostArray:
    """The `head_dim` outputs of the projection from `first` on."""
    rows = slice(first, first + config.head_dim)
    y: HostArray = np.einsum("ti,oi->to", x, p[f"{name}.weight"][rows])
    return y + p[f"{name}.bias"][rows] if config.qkv_bias else y


def _affine(p: Arrays, name: str, x: HostArray) -> HostArray:
    y: HostArray = np.einsum("...i,oi->...o", x, p[f"{name}.weight"]) + p[f"{name}.bias"]
    return y


def _gelu(config: "Config", x: HostArray) -> HostArray:
    """x times the normal distribution, or times the logistic function that stands for it."""
    if config.activation == "gelu":
        share = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x.flat]).reshape(x.shape)
    else:
        share = 1 / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    y: HostArray = x * share
    return y
