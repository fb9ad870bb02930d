"""Config: every field checked, nothing guessed, and the shapes of all parameters."""

from typing import Any

import numpy as np
import pytest

from vitref.config import FIELDS, Config, pair
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
        ("pool", "mean"),
        ("qkv_bias", 1),
        ("position_grid", 8.5),
    ],
)
def test_a_wrong_value_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{**PLAIN, field: value})
    assert caught.value.where == f"Config.{field}"


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
