"""Whole small models with random weights, drawn by Hypothesis: only sizes, options and a seed.

Lengths are small and often equal on purpose (as many heads as tokens), images and patches are seldom
square, and no parameter is trivial: a mixed-up layout or a forgotten option then shows.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from vitref.array import HostArray
from vitref.config import CHOICES, Config
from vitref.masks import Train
from vitref.resampling import RECIPES


class Model(NamedTuple):
    """`arrays`: the parameters and "image", read-only, made from `seed`; `labels`: numbers (N, classes) for
    `loss`, or None; `train`: of a training pass, None in evaluation."""

    config: Config
    arrays: Mapping[str, HostArray]
    labels: HostArray | None
    loss: str = "cross_entropy"
    train: Train | None = None
    seed: int = 0

    def __repr__(self) -> str:
        images, loss = len(self.arrays["image"]), "" if self.labels is None else self.loss
        return f"model({self.config}, batch={images}, seed={self.seed}, loss={loss!r}, train={self.train})"


def model(config: Config, *, batch: int, seed: int, loss: str = "", train: Train | None = None) -> Model:
    """Every array random and none of them trivial: affine weights about 1, biases and tables about 0."""
    rng = np.random.default_rng(seed)
    arrays = {name: _values(rng, name, shape) for name, shape in config.parameter_shapes().items()}
    arrays["image"] = rng.standard_normal((batch, config.channels, *config.image_size))
    labels = _labels(rng, loss, (batch, config.classes)) if loss else None
    for array in (*arrays.values(), *(() if labels is None else (labels,))):
        array.setflags(write=False)
    return Model(config, arrays, labels, loss or "cross_entropy", train, seed)


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> HostArray:
    values = rng.standard_normal(shape)
    if name.endswith("bias"):
        return 0.5 * values
    if "norm" in name:
        return 1 + 0.5 * values
    if name in ("cls_token", "pos_embed"):
        return values
    unsaturated = 0.5 if name.startswith("pre_logits") else 1.5
    return np.asarray(unsaturated * values / np.sqrt(np.prod(shape[1:])))


def _labels(rng: np.random.Generator, loss: str, shape: tuple[int, int]) -> HostArray:
    """Probabilities whose rows sum to 1; for the sigmoid loss numbers from 0 to 1 whose rows do not."""
    return rng.uniform(0, 1, shape) if loss == "sigmoid" else rng.dirichlet(np.ones(shape[1]), size=shape[0])


def config(**fields: Any) -> Config:
    """A Config of `grid`, `patch_size` and `remainder` (each (rows, columns)) and its own fields."""
    grid, patch, remainder = fields.pop("grid"), fields["patch_size"], fields.pop("remainder")
    size = tuple(g * p + r for g, p, r in zip(grid, patch, remainder, strict=True))
    return Config(**{"image_size": size, "position_grid": grid, "pool": "token", **fields})


@st.composite
def models(draw: st.DrawFn, *, evaluation: bool = False) -> Model:
    """Any small model; only sizes, options and a seed are drawn, so that failures shrink in shape."""
    patches = _patches(draw)
    drawn = config(**patches, **_body(draw, patches["grid"][0] * patches["grid"][1]), **_ends(draw))
    losses = ["", "cross_entropy", "sigmoid"] if drawn.classes > 1 else [""]
    return model(
        drawn,
        batch=draw(st.integers(2, 3)),
        seed=draw(st.integers(0, 2**32 - 1)),
        loss=draw(st.sampled_from(losses)),
        train=None if evaluation or draw(st.booleans()) else _train(draw),
    )


def _patches(draw: st.DrawFn) -> dict[str, Any]:
    """Grid, patches, and a position table that fits or does not."""
    grid = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    patch_size = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    other = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return {
        "grid": grid,
        "patch_size": patch_size,
        "remainder": tuple(draw(st.integers(0, size - 1)) for size in patch_size),
        "channels": draw(st.integers(1, 3)),
        "position_grid": other if draw(st.booleans()) else grid,
        "position_resize": draw(st.sampled_from(list(RECIPES))),
    }


def _body(draw: st.DrawFn, patches: int) -> dict[str, Any]:
    """Widths, blocks and numerics; as many heads as tokens in every second draw."""
    heads = 1 + patches if draw(st.booleans()) else draw(st.integers(1, 5))
    head_dim = draw(st.integers(1, 4))
    width = heads * head_dim if draw(st.booleans()) else draw(st.integers(3, 8))
    return {
        "width": max(width, 3),
        "depth": draw(st.integers(1, 3)),
        "heads": heads,
        "head_dim": head_dim,
        "mlp_width": draw(st.integers(1, 9)),
        "eps": draw(st.sampled_from([1e-12, 1e-6, 1e-5, 1e-2])),
        "activation": draw(st.sampled_from(CHOICES["activation"])),
        "qkv_bias": draw(st.booleans()),
        "layer_scale": draw(st.booleans()),
    }


def _ends(draw: st.DrawFn) -> dict[str, Any]:
    """Class token, pooling and head."""
    pool = draw(st.sampled_from(CHOICES["pool"]))
    return {
        "pool": pool,
        "class_token": pool == "token" or draw(st.booleans()),
        "class_position": draw(st.booleans()),
        "final_norm": draw(st.sampled_from(CHOICES["final_norm"])),
        "pre_logits": draw(st.integers(1, 5)) if draw(st.booleans()) else 0,
        "classes": draw(st.integers(0, 4)),
    }


def _train(draw: st.DrawFn) -> Train:
    rate, seed = st.sampled_from([0.0, 0.1, 0.5]), draw(st.integers(0, 2**64 - 1))
    return Train(dropout=draw(rate), attention_dropout=draw(rate), drop_path=draw(rate), seed=seed)
