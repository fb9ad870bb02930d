"""The same model in JAX, compiled as a whole by `jax.jit`."""

import importlib
from collections.abc import Mapping
from typing import Any

from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Program
from vitref.config import Config


def build(problem: Problem, case: Case) -> Program:
    jax: Any = importlib.import_module("jax")
    if case.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    p = {name: jax.numpy.asarray(array) for name, array in problem.tensors.items()}
    image, labels = jax.numpy.asarray(problem.image), jax.numpy.asarray(problem.labels)

    def forward(p: Mapping[str, Any], image: Any) -> Any:
        return logits(jax, p, image, problem.config)

    def loss(p: Mapping[str, Any], image: Any) -> Any:
        scores = jax.nn.log_softmax(forward(p, image))
        return -jax.numpy.take_along_axis(scores, labels[:, None], axis=1).mean()

    if case.direction == "forward":
        compiled = jax.jit(forward)
        return Program(lambda: jax.block_until_ready(compiled(p, image)))
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return Program(lambda: jax.block_until_ready(step(p, image))[1][0])


def logits(jax: Any, p: Mapping[str, Any], image: Any, config: Config) -> Any:
    """image (N, C, H, W) -> (N, classes); `p`: canonical name -> array."""
    jnp = jax.numpy

    def linear(x: Any, name: str) -> Any:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        r = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + config.eps)
        return centred * r * p[f"{name}.weight"] + p[f"{name}.bias"]

    def attention(x: Any, name: str) -> Any:
        shape = (*x.shape[:2], 3, config.heads, config.head_dim)
        q, k, v = linear(x, f"{name}.qkv").reshape(shape).transpose(2, 0, 3, 1, 4)
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) * config.head_dim**-0.5, axis=-1)
        return linear((weights @ v).swapaxes(1, 2).reshape(x.shape), f"{name}.proj")

    (n, c, _, _), (h, w), (rows, columns) = image.shape, config.patch_size, config.grid
    x = image.reshape(n, c, rows, h, columns, w).transpose(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1)
    x = x @ p["patch_embed.proj.weight"].reshape(config.width, -1).T + p["patch_embed.proj.bias"]
    token = jnp.broadcast_to(p["cls_token"], (n, 1, config.width))
    x = jnp.concatenate([token, x], axis=1) + p["pos_embed"]
    for i in range(config.depth):
        block = f"blocks.{i}"
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attn")
        y = jax.nn.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"), approximate=False)
        x = x + linear(y, f"{block}.mlp.fc2")
    return linear(norm(x[:, 0], "norm"), "head")
