"""Small models with random weights, picked by hand; `vitref.testing.small_models` draws others."""

from vitref.masks import Train
from vitref.testing.small_models import Model, config, model, models

__all__ = ["MODELS", "Model", "model", "models", "tap_names"]

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
