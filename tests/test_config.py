"""Config: every field checked, nothing guessed, and the shapes of all parameters."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from vitref.config import CHOICES, FIELDS, SWITCHES, Config, pair
from vitref.errors import ConfigError

PLAIN: dict[str, Any] = {
    "image_size": (9, 8),
    "patch_size": (4, 2),
    "channels": 1,
    "width": 6,
    "depth": 1,
    "heads": 3,
    "mlp_width": 10,
    "classes": 4,
    "eps": 1e-6,
    "activation": "gelu",
    "pool": "token",
    "qkv_bias": True,
    "position_grid": (2, 4),
}


def test_a_remainder_of_the_image_is_not_read() -> None:
    config = Config(**PLAIN)
    assert config.grid == (2, 4)
    assert config.tokens == 9
    assert config.head_dim == 2


def test_one_number_stands_for_both_sides() -> None:
    config = Config(**{**PLAIN, "image_size": 12, "patch_size": 4, "position_grid": [3, 3]})
    assert (config.image_size, config.patch_size, config.position_grid) == ((12, 12), (4, 4), (3, 3))


def test_shapes_in_the_order_of_the_forward_pass() -> None:
    assert Config(**PLAIN, head_dim=5).parameter_shapes() == {
        "patch_embed.proj.weight": (6, 1, 4, 2),
        "patch_embed.proj.bias": (6,),
        "cls_token": (1, 1, 6),
        "pos_embed": (1, 9, 6),
        "blocks.0.norm1.weight": (6,),
        "blocks.0.norm1.bias": (6,),
        "blocks.0.attn.qkv.weight": (45, 6),
        "blocks.0.attn.qkv.bias": (45,),
        "blocks.0.attn.proj.weight": (6, 15),
        "blocks.0.attn.proj.bias": (6,),
        "blocks.0.norm2.weight": (6,),
        "blocks.0.norm2.bias": (6,),
        "blocks.0.mlp.fc1.weight": (10, 6),
        "blocks.0.mlp.fc1.bias": (10,),
        "blocks.0.mlp.fc2.weight": (6, 10),
        "blocks.0.mlp.fc2.bias": (6,),
        "norm.weight": (6,),
        "norm.bias": (6,),
        "head.weight": (4, 6),
        "head.bias": (4,),
    }


def test_optional_parameters_can_be_absent() -> None:
    shapes = Config(**{**PLAIN, "classes": 0, "qkv_bias": False}).parameter_shapes()
    assert not [name for name in shapes if "head" in name or name.endswith("qkv.bias")]


OPTIONS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"class_token": False, "pool": "mean"}, {"pos_embed": (1, 8, 6)}, ["cls_token"]),
    ({"class_position": False}, {"pos_embed": (1, 8, 6), "cls_token": (1, 1, 6)}, []),
    ({"pool": "mean_all"}, {"pos_embed": (1, 9, 6)}, []),
    (
        {"pool": "mean", "final_norm": "pooled"},
        {"fc_norm.weight": (6,), "fc_norm.bias": (6,)},
        ["norm.weight", "norm.bias"],
    ),
    ({"layer_scale": True}, {"blocks.0.ls1.gamma": (6,), "blocks.0.ls2.gamma": (6,)}, []),
    (
        {"pre_logits": 5},
        {"pre_logits.fc.weight": (5, 6), "pre_logits.fc.bias": (5,), "head.weight": (4, 5)},
        [],
    ),
    (
        {"pre_logits": 5, "classes": 0},
        {"pre_logits.fc.weight": (5, 6), "pre_logits.fc.bias": (5,)},
        ["head.weight", "head.bias"],
    ),
    ({"position_grid": (3, 5)}, {"pos_embed": (1, 16, 6)}, []),
]
"""Fields -> parameters they bring or change, and parameters they take away."""


@pytest.mark.parametrize(("fields", "shapes", "absent"), OPTIONS)
def test_options_change_these_parameters_alone(
    fields: dict[str, Any], shapes: dict[str, tuple[int, ...]], absent: list[str]
) -> None:
    plain, found = Config(**PLAIN).parameter_shapes(), Config(**{**PLAIN, **fields}).parameter_shapes()
    assert found.items() >= shapes.items()
    assert not set(absent) & set(found)
    assert set(plain) - set(found) == set(absent)
    assert {name for name, shape in found.items() if plain.get(name) != shape} <= set(shapes)


def test_optional_parameters_stand_in_the_order_of_the_forward_pass() -> None:
    config = Config(**{**PLAIN, "layer_scale": True, "pre_logits": 5, "final_norm": "pooled", "pool": "mean"})
    names = list(config.parameter_shapes())
    order = ["attn.proj.bias", "ls1.gamma", "norm2.weight", "mlp.fc1.weight", "mlp.fc2.bias", "ls2.gamma"]
    assert [n.removeprefix("blocks.0.") for n in names if n.removeprefix("blocks.0.") in order] == order
    ends = [f"{step}.{kind}" for step in ("fc_norm", "pre_logits.fc", "head") for kind in ("weight", "bias")]
    assert names[-6:] == ends


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("class_position", [True, False])
def test_tokens_and_rows_of_the_table(class_token: bool, class_position: bool) -> None:
    fields = {"class_token": class_token, "class_position": class_position, "pool": "mean"}
    config = Config(**{**PLAIN, **fields})
    assert config.tokens == 8 + class_token
    assert config.position_prefix == (class_token and class_position)
    assert config.parameter_shapes()["pos_embed"] == (1, 8 + config.position_prefix, 6)


def test_every_combination_of_options_is_a_config() -> None:
    for values in itertools.product(*CHOICES.values(), *[(True, False)] * len(SWITCHES)):
        fields = {**PLAIN, **dict(zip((*CHOICES, *SWITCHES), values, strict=True))}
        if fields["pool"] == "token" and not fields["class_token"]:
            continue
        config = Config(**fields)
        assert Config(**config.to_dict()) == config


TIMM = {
    "ViT-Ti/16": 5_717_416,
    "ViT-S/8": 22_055_272,
    "ViT-S/16": 22_050_664,
    "ViT-S/32": 22_878_952,
    "ViT-B/8": 86_576_872,
    "ViT-B/16": 86_567_656,
    "ViT-B/32": 88_224_232,
    "ViT-L/14": 304_203_752,
    "ViT-L/16": 304_326_632,
    "ViT-L/32": 306_535_400,
    "ViT-H/14": 632_045_800,
    "ViT-g/14": 1_012_611_432,
    "ViT-G/14": 1_844_440_680,
}
"""Parameters of timm's models of these names at 224 with 1000 classes (timm 1.0.31)."""

PAPER = {"ViT-B/16": 86, "ViT-L/32": 307, "ViT-H/14": 632}
"""Millions of parameters: arXiv:2010.11929, table 1, whose figure for L is that of patches of 32."""

GMACS = {"ViT-B/16": "17.58", "ViT-L/16": "61.60", "ViT-H/14": "167.40"}
"""10^9 multiply-adds of a forward pass at 224: timm's benchmark tables, as fvcore counts them."""


@pytest.mark.parametrize("name", TIMM)
def test_variants_have_as_many_parameters_as_in_timm(name: str) -> None:
    config = Config.variant(name, convention="timm")
    assert config.parameters == TIMM[name]
    assert config.parameters == sum(int(np.prod(shape)) for shape in config.parameter_shapes().values())


@pytest.mark.parametrize("name", PAPER)
def test_variants_are_those_of_the_paper(name: str) -> None:
    assert Config.variant(name, convention="timm").parameters / 1e6 == pytest.approx(PAPER[name], abs=0.6)


@pytest.mark.parametrize("name", GMACS)
def test_flops_are_those_published(name: str) -> None:
    """fvcore counts five operations for each element of a LayerNorm, which `flops` leaves out."""
    config = Config.variant(name, convention="timm")
    norms = 5 * (2 * config.depth + 1) * config.tokens * config.width
    assert f"{(config.flops / 2 + norms) / 1e9:.2f}" == GMACS[name]


def test_flops_by_hand() -> None:
    """9 tokens, 3 heads 2 wide: the products of patches, qkv, scores, context, proj, MLP and head."""
    block = 9 * 6 * 18 + 9 * 9 * 6 + 9 * 9 * 6 + 9 * 6 * 6 + 2 * 9 * 6 * 10
    assert Config(**PLAIN).flops == 2 * (8 * 8 * 6 + block + 6 * 4)
    deep = Config(**{**PLAIN, "depth": 3, "pre_logits": 5, "class_token": False, "pool": "mean"})
    block = 8 * 6 * 18 + 2 * 8 * 8 * 6 + 8 * 6 * 6 + 2 * 8 * 6 * 10
    assert deep.flops == 2 * (8 * 8 * 6 + 3 * block + 6 * 5 + 5 * 4)


def test_flops_are_those_of_the_size_at_which_it_runs() -> None:
    table = {"position_grid": (14, 14), "position_resize": "bicubic"}
    at_224 = Config.variant("ViT-B/16", convention="timm", **table)
    at_384 = Config.variant("ViT-B/16", convention="timm", image_size=384, **table)
    assert at_384.parameters == at_224.parameters
    assert at_384.flops / at_224.flops == pytest.approx(3.16, abs=0.01)


def test_plain_types_make_the_same_config_again() -> None:
    config = Config(**PLAIN)
    assert set(config.to_dict()) == FIELDS
    assert Config(**config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", (9,)),
        ("image_size", "99"),
        ("image_size", (9, 0)),
        ("image_size", 9.0),
        ("image_size", (3, 8)),
        ("image_size", True),
        ("patch_size", (4, None)),
        ("channels", 0),
        ("channels", 2**31),
        ("image_size", 10**400),
        ("activation", np.zeros(2)),
        ("pool", np.zeros(2)),
        ("width", 6.0),
        ("width", np.float32(6)),
        ("depth", np.True_),
        ("image_size", np.int64(-9)),
        ("image_size", (9, np.True_)),
        ("eps", np.float32("nan")),
        ("eps", np.True_),
        ("eps", np.zeros(1)),
        ("qkv_bias", np.True_),
        ("depth", -1),
        ("heads", True),
        ("heads", 4),
        ("head_dim", -1),
        ("mlp_width", None),
        ("classes", -1),
        ("eps", "1e-6"),
        ("eps", -1e-6),
        ("eps", float("nan")),
        ("eps", True),
        ("activation", "relu"),
        ("activation", ["gelu"]),
        ("pool", "max"),
        ("qkv_bias", 1),
        ("position_grid", 8.5),
    ],
)
def test_a_wrong_value_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{**PLAIN, field: value})
    assert caught.value.where == ("Config.pool" if value is False else f"Config.{field}")


def test_numbers_of_numpy_become_plain() -> None:
    sizes = {"image_size": (np.int64(9), np.uint8(8)), "patch_size": (np.int32(4), 2), "width": np.int64(6)}
    eps = np.float32(1e-6)
    config = Config(**{**PLAIN, **sizes, "eps": eps, "classes": np.int16(4)})
    assert config == Config(**{**PLAIN, "eps": float(eps)})
    assert {type(side) for side in (*config.image_size, *config.patch_size)} == {int}
    assert [type(value) for value in (config.width, config.head_dim, config.classes)] == [int, int, int]
    assert type(config.eps) is float
    assert Config(**{**PLAIN, "image_size": np.int64(12)}).image_size == (12, 12)
    assert json.loads(json.dumps(config.to_dict()))["width"] == 6


LARGE: list[tuple[str, dict[str, Any]]] = [
    ("image_size", {"image_size": 2**30}),
    ("image_size", {"image_size": (2**30, 2)}),
    ("image_size", {"image_size": (4 * 2**14, 2 * 2**14)}),
    ("image_size", {"image_size": (4, 2 * 2**24), "position_grid": (1, 17), "width": 3}),
    ("position_grid", {"position_grid": (2**14, 2**14)}),
    ("position_grid", {"position_grid": (2**30, 1)}),
]
"""The field, and what makes its table, or a matrix that resizes one, larger than 2 GiB."""


@pytest.mark.parametrize(("field", "values"), LARGE)
def test_a_position_table_has_a_largest_size(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"found .*: a grid of [0-9]+ x .* wide; .*2 GiB") as caught:
        Config(**{**PLAIN, **values})
    assert caught.value.where == f"Config.{field}"


def test_the_largest_position_table() -> None:
    assert Config(**{**PLAIN, "width": 1024, "heads": 16, "image_size": (4 * 2**9, 2 * 2**9)}).grid == (
        512,
        512,
    )
    with pytest.raises(ConfigError, match="a grid of 512 x 513"):
        Config(**{**PLAIN, "width": 1024, "heads": 16, "image_size": (4 * 2**9, 2 * 2**9 + 2)})


def test_heads_must_divide_the_width_unless_head_dim_is_given() -> None:
    with pytest.raises(ConfigError, match="4 heads for width 6"):
        Config(**{**PLAIN, "heads": 4})
    assert Config(**{**PLAIN, "heads": 4}, head_dim=2).head_dim == 2


def test_a_variant_with_other_fields() -> None:
    config = Config.variant("ViT-Ti/16", convention="timm", image_size=(32, 48), classes=0, channels=1)
    assert (config.width, config.depth, config.heads, config.eps) == (192, 12, 3, 1e-6)
    assert config.position_grid == (2, 3)
    assert config.classes == 0


@pytest.mark.parametrize("given", [{"convention": "other"}, {"convention": "timm", "hidden": 3}])
def test_a_variant_refuses_unknown_names(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Config.variant("ViT-Ti/16", **given)


def test_a_variant_whose_patches_are_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="image_size"):
        Config.variant("ViT-B/32", convention="timm", image_size=16)


def test_pair() -> None:
    assert pair("x", 3) == (3, 3)
    assert pair("x", [3, 4]) == (3, 4)
