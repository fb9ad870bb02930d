"""The whole model a second time, forwards, from the components of `second`: for the vectors alone.

Gradients are tested as derivatives: complex numbers pass through it, and every activation can be shifted. Of
vitref it takes the oracle's resizing of position tables, which has no code of vitref's own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.verify.vectors import second
from tests.verify.vectors.reader import Array, Arrays
from vitref.verify.interpolation import weights as resize_weights


class Model:
    """One pass; `taps` has every activation. `shift` is added to activations, by name."""

    def __init__(self, settings: Mapping[str, Any], inputs: Mapping[str, Array], shift: Mapping[str, Array]):
        self.config, self.rates = settings["config"], settings.get("train", {})
        self.inputs, self.shift, self.taps = inputs, shift, Arrays()
        y = self.head(self.blocks(self.embed(inputs["image"])))
        if "labels" in inputs:
            losses = {"cross_entropy": second.cross_entropy, "sigmoid": second.sigmoid_cross_entropy}
            self.tap("loss", losses[settings["loss"]](y, inputs["labels"]))

    def tap(self, name: str, x: Array) -> Array:
        self.taps[name] = x + self.shift[name] if name in self.shift else x
        return self.taps[name]

    def parameter(self, name: str) -> Array:
        return self.inputs[f"weight.{name}"]

    def linear(self, name: str, x: Array) -> Array:
        bias = self.inputs.get(f"weight.{name}.bias")
        return self.tap(name, second.linear(x, self.parameter(f"{name}.weight"), bias))

    def norm(self, name: str, x: Array) -> Array:
        weight, bias = (self.parameter(f"{name}.{part}") for part in ("weight", "bias"))
        return self.tap(name, second.layer_norm(x, weight, bias, self.config["eps"]))

    def drop(self, name: str, x: Array, rate: str = "dropout", share: float = 1) -> Array:
        mask = self.inputs.get(f"mask.{name}")
        if mask is None:
            return x
        kind = second.drop_path if rate == "drop_path" else second.dropout
        return self.tap(name, kind(x, mask, self.rates[rate] * share))

    def embed(self, image: Array) -> Array:
        c = self.config
        x = self.tap("patch_embed.unfold", second.unfold(self.tap("image", image), c["patch_size"]))
        weight, bias = (self.parameter(f"patch_embed.proj.{part}") for part in ("weight", "bias"))
        x = self.tap("patch_embed.proj", second.patch_projection(x, weight, bias))
        first = c["class_token"] and c["class_position"]
        if first:
            x = self.tap("cls_token", second.class_token(x, self.parameter("cls_token")))
        x = self.tap("pos_embed", self.positions(x, int(first)))
        if c["class_token"] and not first:
            x = self.tap("cls_token", second.class_token(x, self.parameter("cls_token")))
        return self.tap("embed", self.drop("pos_drop", x))

    def positions(self, x: Array, prefix: int) -> Array:
        c = self.config
        grid = [size // patch for size, patch in zip(c["image_size"], c["patch_size"], strict=True)]
        table, old = self.parameter("pos_embed"), c["position_grid"]
        if grid == old:
            return second.position_embedding(x, table)
        rows, columns = (
            np.array([resize_weights(i, a, b, c["position_resize"]) for i in range(b)])
            for a, b in zip(old, grid, strict=True)
        )
        return second.resized_position_embedding(x, table, rows, columns, prefix)

    def blocks(self, x: Array) -> Array:
        depth = self.config["depth"]
        for i in range(depth):
            at, share = f"blocks.{i}", i / max(depth - 1, 1)
            x = self.tap(f"{at}.add1", x + self.branch(at, 1, self.attention(at, x), share))
            x = self.tap(f"{at}.add2", x + self.branch(at, 2, self.mlp(at, x), share))
            x = self.tap(at, x)
        return x

    def branch(self, at: str, which: int, x: Array, share: float) -> Array:
        if self.config["layer_scale"]:
            x = self.tap(f"{at}.ls{which}", second.layer_scale(x, self.parameter(f"{at}.ls{which}.gamma")))
        return self.drop(f"{at}.drop_path{which}", x, "drop_path", share)

    def attention(self, at: str, x: Array) -> Array:
        attn = f"{at}.attn"
        qkv = self.linear(f"{attn}.qkv", self.norm(f"{at}.norm1", x))
        parts = second.split_heads(qkv, self.config["heads"])
        q, k, v = (self.tap(f"{attn}.{n}", part) for n, part in zip("qkv", parts, strict=True))
        p = self.tap(f"{attn}.softmax", second.softmax(self.tap(f"{attn}.scores", second.scores(q, k))))
        p = self.drop(f"{attn}.attn_drop", p, "attention_dropout")
        y = self.tap(f"{attn}.merge", second.merge_heads(self.tap(f"{attn}.context", second.context(p, v))))
        return self.tap(attn, self.drop(f"{attn}.proj_drop", self.linear(f"{attn}.proj", y)))

    def mlp(self, at: str, x: Array) -> Array:
        mlp, form = f"{at}.mlp", {"gelu": "erf", "gelu_tanh": "tanh"}[self.config["activation"]]
        x = self.linear(f"{mlp}.fc1", self.norm(f"{at}.norm2", x))
        x = self.drop(f"{mlp}.drop1", self.tap(f"{mlp}.act", second.gelu(x, form)))
        return self.tap(mlp, self.drop(f"{mlp}.drop2", self.linear(f"{mlp}.fc2", x)))

    def head(self, x: Array) -> Array:
        c = self.config
        if c["final_norm"] == "tokens":
            x = self.norm("norm", x)
        x, start = self.tap("tokens", x), int(c["class_token"] and c["pool"] == "mean")
        x = self.tap(
            "pool", second.select_token(x, 0) if c["pool"] == "token" else second.mean_pool(x, start)
        )
        if c["final_norm"] == "pooled":
            x = self.norm("fc_norm", x)
        if c["pre_logits"]:
            x = self.tap("pre_logits.act", second.tanh(self.linear("pre_logits.fc", x)))
            x = self.tap("pre_logits", x)
        x = self.tap("head_input", self.drop("head_drop", self.tap("pooled", x)))
        return self.tap("logits", self.linear("head", x)) if c["classes"] else x


def check(settings: Mapping[str, Any], inputs: Mapping[str, Array]) -> None:
    """Raise ValueError for what is no model, or no input of this one."""
    c, image = settings["config"], inputs["image"]
    if c["heads"] * c["head_dim"] == 0 and c["width"] % c["heads"]:
        raise ValueError("the heads do not divide the width")
    if not 0 < c["eps"] < 1 or c["activation"] not in ("gelu", "gelu_tanh"):
        raise ValueError("eps or activation")
    if c["pool"] == "token" and not c["class_token"]:
        raise ValueError("there is no class token to pool")
    if c["image_size"][0] < c["patch_size"][0] or c["image_size"][1] < c["patch_size"][1]:
        raise ValueError("the image is smaller than a patch")
    if image.shape[1:] != (c["channels"], *c["image_size"]):
        raise ValueError("the image has another shape")
    given = {name: array for name, array in inputs.items() if name.startswith("weight.")}
    if {f"weight.{name}": shape for name, shape in shapes(c).items()} != {
        n: a.shape for n, a in given.items()
    }:
        raise ValueError("the parameters are not those of the model")
    if not all(np.all(np.isfinite(array)) for array in given.values()):
        raise ValueError("a parameter is not finite")
    if "labels" in inputs:
        check_labels(inputs["labels"], len(image), c["classes"], settings["loss"])


def check_labels(labels: Array, images: int, classes: int, loss: str) -> None:
    whole = labels.ndim == 1
    if labels.shape != ((images,) if whole else (images, classes)):
        raise ValueError("the labels have another shape")
    if labels.min() < 0 or labels.max() > (classes - 1 if whole else 1):
        raise ValueError("there is no such class, or no such probability")
    if not whole and loss == "cross_entropy" and not np.allclose(labels.sum(axis=1), 1):
        raise ValueError("the probabilities do not sum to 1")


def shapes(c: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter."""
    d, inner, hidden = c["width"], c["heads"] * c["head_dim"], c["mlp_width"]
    places = c["position_grid"][0] * c["position_grid"][1] + (c["class_token"] and c["class_position"])
    found: dict[str, tuple[int, ...]] = {"pos_embed": (1, places, d)}
    found |= affine("patch_embed.proj", (d, c["channels"], *c["patch_size"]))
    found |= {"cls_token": (1, 1, d)} if c["class_token"] else {}
    for i in range(c["depth"]):
        at = f"blocks.{i}"
        found |= affine(f"{at}.norm1", (d,)) | affine(f"{at}.norm2", (d,))
        found |= affine(f"{at}.attn.qkv", (3 * inner, d), c["qkv_bias"]) | affine(
            f"{at}.attn.proj", (d, inner)
        )
        found |= affine(f"{at}.mlp.fc1", (hidden, d)) | affine(f"{at}.mlp.fc2", (d, hidden))
        found |= {f"{at}.ls{k}.gamma": (d,) for k in (1, 2) if c["layer_scale"]}
    found |= affine("norm" if c["final_norm"] == "tokens" else "fc_norm", (d,))
    found |= affine("pre_logits.fc", (c["pre_logits"], d)) if c["pre_logits"] else {}
    return found | (affine("head", (c["classes"], c["pre_logits"] or d)) if c["classes"] else {})


def affine(name: str, shape: tuple[int, ...], bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, **({f"{name}.bias": shape[:1]} if bias else {})}
