"""The plain model in jax.numpy, with JAX's own functions, compiled as a whole."""

import importlib
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.benchmark.diagnosis.problem import Problem
from vitref.config import Config


def run(problem: Problem, dtype: str, gradients: bool) -> dict[str, HostArray]:
    """The taps of the residual stream, and with gradients those of the weights."""
    jax: Any = importlib.import_module("jax")
    weights = {name: jax.numpy.asarray(np.array(w), dtype) for name, w in problem.weights.items()}
    image = jax.numpy.asarray(problem.image, dtype)
    labels = jax.numpy.asarray(problem.labels)
    forward = jax.jit(lambda w: taps(jax, w, image, problem.config))
    found = {name: np.asarray(value) for name, value in forward(weights).items()}
    if gradients:
        slopes = jax.jit(jax.grad(lambda w: loss(jax, taps(jax, w, image, problem.config)["logits"], labels)))
        found |= {f"{name}:grad": np.asarray(g) for name, g in slopes(weights).items()}
    return found


def loss(jax: Any, logits: Any, labels: Any) -> Any:
    logs = jax.nn.log_softmax(logits.astype(jax.numpy.promote_types(logits.dtype, "float32")))
    return -jax.numpy.take_along_axis(logs, labels[:, None], 1).mean()


def taps(jax: Any, w: Any, image: Any, config: Config) -> dict[str, Any]:
    x = embedded(jax, w, image, config)
    kept = {"embed": x}
    for i in range(config.depth):
        block = {name.split(".", 2)[2]: v for name, v in w.items() if name.startswith(f"blocks.{i}.")}
        a = attention(jax, block, norm(jax, block, "norm1", x, config.eps), config)
        kept[f"blocks.{i}.add1"] = x = x + a * block.get("ls1.gamma", 1)
        m = hidden(jax, block, norm(jax, block, "norm2", x, config.eps), config)
        kept[f"blocks.{i}"] = x = x + m * block.get("ls2.gamma", 1)
    return kept | ended(jax, w, x, config)


def embedded(jax: Any, w: Any, image: Any, config: Config) -> Any:
    """The patches by a convolution; then class token and positions."""
    y = jax.lax.conv_general_dilated(image, w["patch_embed.proj.weight"], config.patch_size, "VALID")
    x = jax.numpy.moveaxis(y.reshape(*y.shape[:2], -1), 1, 2) + w["patch_embed.proj.bias"]
    token = jax.numpy.broadcast_to(w["cls_token"], (len(x), 1, config.width))
    if config.class_position:
        return jax.numpy.concatenate([token, x], 1) + w["pos_embed"]
    return jax.numpy.concatenate([token, x + w["pos_embed"]], 1)


def norm(jax: Any, w: Any, name: str, x: Any, eps: float) -> Any:
    wide = x.astype(jax.numpy.promote_types(x.dtype, "float32"))
    return (jax.nn.standardize(wide, epsilon=eps) * w[f"{name}.weight"] + w[f"{name}.bias"]).astype(x.dtype)


def linear(jax: Any, w: Any, name: str, x: Any) -> Any:
    y = jax.numpy.matmul(x, w[f"{name}.weight"].T)
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def attention(jax: Any, w: Any, x: Any, config: Config) -> Any:
    parts = linear(jax, w, "attn.qkv", x).reshape(*x.shape[:2], 3, config.heads, config.head_dim)
    y = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
    return linear(jax, w, "attn.proj", y.reshape(*x.shape[:2], -1))


def hidden(jax: Any, w: Any, x: Any, config: Config) -> Any:
    x = jax.nn.gelu(linear(jax, w, "mlp.fc1", x), approximate=config.activation == "gelu_tanh")
    return linear(jax, w, "mlp.fc2", x)


def ended(jax: Any, w: Any, x: Any, config: Config) -> dict[str, Any]:
    if config.final_norm == "tokens":
        x = norm(jax, w, "norm", x, config.eps)
    tokens, first = x, 1 if config.pool == "mean" else 0
    x = x[:, 0] if config.pool == "token" else x[:, first:].mean(1)
    if config.final_norm == "pooled":
        x = norm(jax, w, "fc_norm", x, config.eps)
    if config.pre_logits:
        x = jax.numpy.tanh(linear(jax, w, "pre_logits.fc", x))
    return {"tokens": tokens, "pooled": x, "logits": linear(jax, w, "head", x)}
