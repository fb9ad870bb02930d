"""A second forward pass of the ViT, for the tests alone: no vitref code, and different in form.

It takes one image, one patch, one head and one query at a time, where the graph works on whole
batches; the published equations (arXiv:2010.11929, eq. 1 to 4) are all that the two have in common.
"""

import math
from collections.abc import Mapping

import numpy as np

from vitref.array import HostArray
from vitref.config import Config

Arrays = Mapping[str, HostArray]


def forward(config: Config, p: Arrays, images: HostArray) -> dict[str, HostArray]:
    """Named outputs -> arrays with the batch axis.

    `mlp.act` is not among them: far below 0 the graph's GELU is exact against x, not against itself.
    """
    one_by_one = [_forward(config, p, image) for image in images]
    return {name: np.stack([taps[name] for taps in one_by_one]) for name in one_by_one[0]}


def loss(logits: HostArray, labels: HostArray) -> HostArray:
    """Mean cross-entropy of logits (N, classes) against probabilities of the same shape."""
    each = [t @ (np.log(np.exp(row).sum()) - row) for row, t in zip(logits, labels, strict=True)]
    return np.asarray(np.mean(each))


def _forward(config: Config, p: Arrays, image: HostArray) -> dict[str, HostArray]:
    x = np.vstack([p["cls_token"][0], *_patches(config, p, image)]) + p["pos_embed"][0]
    taps = {"embed": x}
    for i in range(config.depth):
        a = taps[f"blocks.{i}.norm1"] = _normalise(config, p, f"blocks.{i}.norm1", x)
        a = taps[f"blocks.{i}.attn"] = _attention(config, p, f"blocks.{i}.attn", a, taps)
        x = taps[f"blocks.{i}.add1"] = x + a
        m = taps[f"blocks.{i}.norm2"] = _normalise(config, p, f"blocks.{i}.norm2", x)
        m = _gelu(config, _affine(p, f"blocks.{i}.mlp.fc1", m))
        x = taps[f"blocks.{i}"] = x + _affine(p, f"blocks.{i}.mlp.fc2", m)
    taps["norm"] = _normalise(config, p, "norm", x)
    taps["head_input"] = taps["norm"][0]
    if config.classes:
        taps["logits"] = _affine(p, "head", taps["head_input"])
    return taps


def _patches(config: Config, p: Arrays, image: HostArray) -> list[HostArray]:
    (rows, columns), (h, w), kernel = config.grid, config.patch_size, p["patch_embed.proj.weight"]
    corners = [(r * h, c * w) for r in range(rows) for c in range(columns)]
    pixels = [image[:, top : top + h, left : left + w] for top, left in corners]
    return [np.tensordot(kernel, patch, axes=3) + p["patch_embed.proj.bias"] for patch in pixels]


def _normalise(config: Config, p: Arrays, name: str, x: HostArray) -> HostArray:
    z = (x.T - x.mean(axis=1)) / np.sqrt(x.var(axis=1) + config.eps)
    y: HostArray = np.einsum("ct,c->tc", z, p[f"{name}.weight"]) + p[f"{name}.bias"]
    return y


def _attention(config: Config, p: Arrays, name: str, x: HostArray, taps: dict[str, HostArray]) -> HostArray:
    d, weights, merged = config.head_dim, [], []
    for head in range(config.heads):
        q, k, v = (_rows(config, p, f"{name}.qkv", x, (part * config.heads + head) * d) for part in range(3))
        weight = np.stack([np.exp(k @ query / np.sqrt(d)) for query in q])
        weights.append((weight.T / weight.sum(axis=1)).T)
        merged.append(np.stack([sum(w_j * v_j for w_j, v_j in zip(w, v, strict=True)) for w in weights[-1]]))
    taps[f"{name}.softmax"], taps[f"{name}.context"] = np.stack(weights), np.stack(merged)
    return _affine(p, f"{name}.proj", np.hstack(merged))


def _rows(config: Config, p: Arrays, name: str, x: HostArray, first: int) -> HostArray:
    """The `head_dim` outputs of the projection from `first` on."""
    rows = slice(first, first + config.head_dim)
    y: HostArray = np.einsum("ti,oi->to", x, p[f"{name}.weight"][rows])
    return y + p[f"{name}.bias"][rows] if config.qkv_bias else y


def _affine(p: Arrays, name: str, x: HostArray) -> HostArray:
    y: HostArray = np.einsum("...i,oi->...o", x, p[f"{name}.weight"]) + p[f"{name}.bias"]
    return y


def _gelu(config: Config, x: HostArray) -> HostArray:
    """x times the normal distribution, or times the logistic function that stands for it."""
    if config.activation == "gelu":
        share = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x.flat]).reshape(x.shape)
    else:
        share = 1 / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    y: HostArray = x * share
    return y
