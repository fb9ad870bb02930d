"""Small models with random weights: hand-picked ones, and a strategy that draws others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from vitref.array import HostArray
from vitref.config import Config


class Model(NamedTuple):
    """`arrays`: the parameters and "image", read-only; `labels`: probabilities (N, classes), or None."""

    config: Config
    arrays: Mapping[str, HostArray]
    labels: HostArray | None


def model(config: Config, *, batch: int, labelled: bool, seed: int) -> Model:
    """Every array random and none of them trivial: affine weights about 1, biases and tables about 0."""
    rng = np.random.default_rng(seed)
    arrays = {name: _values(rng, name, shape) for name, shape in config.parameter_shapes().items()}
    arrays["image"] = rng.standard_normal((batch, config.channels, *config.image_size))
    labels = rng.dirichlet(np.ones(config.classes), size=batch) if labelled else None
    for array in (*arrays.values(), *(() if labels is None else (labels,))):
        array.setflags(write=False)
    return Model(config, arrays, labels)


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> HostArray:
    values = rng.standard_normal(shape)
    if name.endswith("bias"):
        return 0.5 * values
    if "norm" in name:
        return 1 + 0.5 * values
    return values if name in ("cls_token", "pos_embed") else 1.5 * values / np.sqrt(np.prod(shape[1:]))


def config(**fields: Any) -> Config:
    """A Config of `grid`, `patch_size` and `remainder` (each (rows, columns)) and its own fields."""
    grid, patch, remainder = fields.pop("grid"), fields["patch_size"], fields.pop("remainder")
    size = tuple(g * p + r for g, p, r in zip(grid, patch, remainder, strict=True))
    return Config(image_size=size, position_grid=grid, pool="token", **fields)


ODD = config(
    grid=(2, 3), patch_size=(3, 2), remainder=(2, 1), channels=3, width=6, depth=2, heads=3, head_dim=4,
    mlp_width=7, classes=4, eps=1e-6, activation="gelu", qkv_bias=True,
)  # fmt: skip
"""Non-square image, grid and patch, a remainder on both sides, odd heads, head_dim not width / heads."""

EQUAL = config(
    grid=(1, 3), patch_size=(2, 2), remainder=(0, 0), channels=1, width=16, depth=3, heads=4,
    mlp_width=16, classes=0, eps=1e-2, activation="gelu_tanh", qkv_bias=False,
)  # fmt: skip
"""Tokens, heads, head_dim and the batch are all 4, so that no shape tells them apart; no head."""

MODELS = {
    "odd": model(ODD, batch=2, labelled=False, seed=1),
    "equal": model(EQUAL, batch=4, labelled=False, seed=2),
    "labelled": model(ODD, batch=3, labelled=True, seed=3),
}


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Any small model; only sizes and a seed are drawn, so that failures shrink in shape."""
    grid = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    patch_size = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    heads = 1 + grid[0] * grid[1] if draw(st.booleans()) else draw(st.integers(1, 5))
    head_dim = draw(st.integers(1, 4))
    width = heads * head_dim if draw(st.booleans()) else draw(st.integers(3, 8))
    classes = draw(st.integers(0, 4))
    return model(
        config(
            grid=grid,
            patch_size=patch_size,
            remainder=(draw(st.integers(0, patch_size[0] - 1)), draw(st.integers(0, patch_size[1] - 1))),
            channels=draw(st.integers(1, 3)),
            width=max(width, 3),
            depth=draw(st.integers(1, 3)),
            heads=heads,
            head_dim=head_dim,
            mlp_width=draw(st.integers(1, 9)),
            classes=classes,
            eps=draw(st.sampled_from([1e-12, 1e-6, 1e-5, 1e-2])),
            activation=draw(st.sampled_from(["gelu", "gelu_tanh"])),
            qkv_bias=draw(st.booleans()),
        ),
        batch=draw(st.integers(2, 3)),
        labelled=classes > 1 and draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def tap_names(config: Config, *, labelled: bool) -> list[str]:
    """Every named output of such a model, in the order of the forward pass."""
    attn = ["qkv", "q", "k", "v", "scores", "softmax", "context", "merge", "proj"]
    steps = ["norm1", *(f"attn.{step}" for step in attn), "attn", "add1"]
    steps += ["norm2", "mlp.fc1", "mlp.act", "mlp.fc2", "mlp", "add2"]
    names = ["image", "patch_embed.unfold", "patch_embed.proj", "cls_token", "pos_embed", "embed"]
    for i in range(config.depth):
        names += [f"blocks.{i}.{step}" for step in steps] + [f"blocks.{i}"]
    names += ["norm", "tokens", "pool", "pooled", "head_input"]
    return names + ["head", "logits"] * bool(config.classes) + ["loss"] * labelled
