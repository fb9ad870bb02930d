"""Small models with random weights: hand-picked ones, and a strategy that draws others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from vitref.array import HostArray
from vitref.config import CHOICES, Config
from vitref.masks import Train
from vitref.resampling import RECIPES


class Model(NamedTuple):
    """`arrays`: the parameters and "image", read-only; `labels`: numbers (N, classes) for `loss`, or None;
    `train`: of a training pass, None in evaluation."""

    config: Config
    arrays: Mapping[str, HostArray]
    labels: HostArray | None
    loss: str = "cross_entropy"
    train: Train | None = None


def model(config: Config, *, batch: int, seed: int, loss: str = "", train: Train | None = None) -> Model:
    """Every array random and none of them trivial: affine weights about 1, biases and tables about 0."""
    rng = np.random.default_rng(seed)
    arrays = {name: _values(rng, name, shape) for name, shape in config.parameter_shapes().items()}
    arrays["image"] = rng.standard_normal((batch, config.channels, *config.image_size))
    labels = _labels(rng, loss, (batch, config.classes)) if loss else None
    for array in (*arrays.values(), *(() if labels is None else (labels,))):
        array.setflags(write=False)
    return Model(config, arrays, labels, loss or "cross_entropy", train)


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

BARE = config(
    grid=(2, 3), position_grid=(3, 2), position_resize="bicubic_antialias", patch_size=(2, 3),
    remainder=(0, 1), channels=2, width=5, depth=2, heads=1, mlp_width=6, classes=3, eps=1e-5,
    activation="gelu", qkv_bias=True, class_token=False, pool="mean", final_norm="pooled", layer_scale=True,
)  # fmt: skip
"""No class token, the norm after the mean, LayerScale; a position table of as many places as the grid."""

APART = config(
    grid=(3, 2), position_grid=(2, 4), position_resize="bilinear_corners", patch_size=(2, 1),
    remainder=(1, 0), channels=1, width=6, depth=2, heads=3, mlp_width=5, classes=3, eps=1e-6,
    activation="gelu", qkv_bias=True, class_position=False, pool="mean_all", pre_logits=4,
)  # fmt: skip
"""A class token without position, the mean over all tokens, pre-logits; the table stretched and shrunk."""

DROPPING = config(
    grid=(2, 2), position_grid=(3, 2), position_resize="bicubic", patch_size=(2, 2), remainder=(0, 0),
    channels=2, width=6, depth=3, heads=3, mlp_width=8, classes=4, eps=1e-6, activation="gelu",
    qkv_bias=True, pool="mean", layer_scale=True, pre_logits=5,
)  # fmt: skip
"""For training passes: every place where something may be dropped; the mean without the class token; a
resized table with a row for the class token."""

EVERYTHING = Train(dropout=0.3, attention_dropout=0.2, drop_path=0.4, seed=5, step=7, first=2)
"""A training pass with every rate above 0."""

MODELS = {
    "odd": model(ODD, batch=2, seed=1),
    "equal": model(EQUAL, batch=4, seed=2),
    "labelled": model(ODD, batch=3, seed=3, loss="cross_entropy"),
    "bare": model(BARE, batch=2, seed=4),
    "apart": model(APART, batch=2, seed=5),
    "sigmoid": model(APART, batch=3, seed=6, loss="sigmoid"),
    "training": model(DROPPING, batch=3, seed=7, train=EVERYTHING),
    "trained": model(ODD, batch=5, seed=8, loss="cross_entropy", train=EVERYTHING),
}


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


def tap_names(model: Model) -> list[str]:
    """Every named output of such a pass, in the order of the forward pass."""
    c, train = model.config, model.train or Train()
    dropped = bool(train.dropout)
    embed = ["pos_embed"]
    if c.class_token:
        embed = ["cls_token", "pos_embed"] if c.class_position else ["pos_embed", "cls_token"]
    names = ["image", "patch_embed.unfold", "patch_embed.proj", *embed, *["pos_drop"] * dropped, "embed"]
    for i in range(c.depth):
        path_dropped = bool(train.drop_path and i)
        names += [f"blocks.{i}.{step}" for step in _attention(train)]
        names += [f"blocks.{i}.ls1"] * c.layer_scale + [f"blocks.{i}.drop_path1"] * path_dropped
        names += [f"blocks.{i}.{step}" for step in ("add1", "norm2", "mlp.fc1", "mlp.act")]
        names += [f"blocks.{i}.mlp.drop1"] * dropped + [f"blocks.{i}.mlp.fc2"]
        names += [f"blocks.{i}.mlp.drop2"] * dropped + [f"blocks.{i}.mlp"]
        names += [f"blocks.{i}.ls2"] * c.layer_scale + [f"blocks.{i}.drop_path2"] * path_dropped
        names += [f"blocks.{i}.add2", f"blocks.{i}"]
    names += ["norm"] * (c.final_norm == "tokens") + ["tokens", "pool"]
    names += ["fc_norm"] * (c.final_norm == "pooled")
    names += ["pre_logits.fc", "pre_logits.act", "pre_logits"] * bool(c.pre_logits)
    names += ["pooled", *["head_drop"] * dropped, "head_input"]
    return names + ["head", "logits"] * bool(c.classes) + ["loss"] * (model.labels is not None)


def _attention(train: Train) -> list[str]:
    core = ["scores", "softmax", *["attn_drop"] * bool(train.attention_dropout), "context"]
    steps = ["qkv", "q", "k", "v", *core, "merge", "proj", *["proj_drop"] * bool(train.dropout)]
    return ["norm1", *(f"attn.{step}" for step in steps), "attn"]
