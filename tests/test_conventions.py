"""The tables of published facts: consistent with each other, and sourced."""

import pytest

from vitref import conventions
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.preprocessing import FIELDS

PARAMETERS = {
    "ViT-Ti/16": 5_717_416,
    "ViT-S/16": 22_050_664,
    "ViT-B/16": 86_567_656,
    "ViT-B/32": 88_224_232,
    "ViT-L/16": 304_326_632,
    "ViT-H/14": 632_045_800,
}
"""Parameters with 1000 classes at 224 x 224, as timm reports them (results/*.csv, param_count)."""


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_variants_have_the_published_number_of_parameters(name: str, count: int) -> None:
    shapes = Config.variant(name, convention="timm").parameter_shapes().values()
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    assert total == count


@pytest.mark.parametrize("name", ["ViT-B/16", "ViT-g/14", "ViT-G/14"])
def test_a_variant_is_a_whole_config(name: str) -> None:
    config = Config.variant(name, convention="timm")
    assert config.width == config.heads * config.head_dim


def test_timm_says_numerics_and_pixels() -> None:
    facts = conventions.model_facts("timm")
    assert {name: fact.value for name, fact in facts.items()} == {
        "eps": 1e-6,
        "activation": "gelu",
        "pool": "token",
        "position_resize": "bicubic_antialias",
    }
    pixels = conventions.pixel_facts("timm")
    assert set(pixels) - {"crop_pct"} <= FIELDS
    assert all(fact.source.startswith("timm/") for fact in (*facts.values(), *pixels.values()))


def test_what_is_returned_can_be_changed_without_changing_the_tables() -> None:
    conventions.model_facts("timm").clear()
    conventions.variant("ViT-B/16").clear()
    assert conventions.model_facts("timm")
    assert conventions.variant("ViT-B/16")


@pytest.mark.parametrize("name", ["", "torch", None, ["timm"]])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="one of timm"):
        conventions.model_facts(name)
    with pytest.raises(ConfigError, match="one of timm"):
        conventions.pixel_facts(name)
    with pytest.raises(ConfigError, match="ViT-B/16"):
        conventions.variant(name)


def test_architectures_are_variants() -> None:
    fact = conventions.architecture("vit_tiny_patch16_224")
    assert fact is not None
    plain = {"qkv_bias": True, "class_token": True, "class_position": True, "layer_scale": False}
    assert fact.value == {**conventions.variant("ViT-Ti/16"), **plain, "pool": "token"}
    assert "vit_tiny_patch16_224" in fact.source
    assert conventions.architecture("vit_base_patch16_clip_224") is None


@pytest.mark.parametrize(
    ("name", "width", "heads", "mlp_width", "patch"),
    [
        ("test_vit", 64, 2, 192, 16),
        ("deit_base_patch16_384", 768, 12, 3072, 16),
        ("vit_large_patch14_224", 1024, 16, 4096, 14),
        ("vit_giant_patch14_224", 1408, 16, 6144, 14),
        ("vit_gigantic_patch14_224", 1664, 16, 8192, 14),
    ],
)
def test_architectures(name: str, width: int, heads: int, mlp_width: int, patch: int) -> None:
    fact = conventions.architecture(name)
    assert fact is not None
    found = fact.value
    expected = (width, heads, mlp_width, (patch, patch))
    assert (found["width"], found["heads"], found["mlp_width"], found["patch_size"]) == expected


def test_miil_has_no_qkv_bias() -> None:
    fact = conventions.architecture("vit_base_patch16_224_miil")
    assert fact is not None
    assert fact.value["qkv_bias"] is False


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ((192, 12, 768, (16, 16)), "ViT-Ti/16"),
        ((192, 3, 100, (2, 3)), "ViT-Ti/16"),
        ((768, 12, 3072, (32, 32)), "ViT-B/32"),
        ((768, 12, 3072, (7, 7)), "ViT-B/16"),
        ((1024, 24, 4096, (14, 14)), "ViT-L/14"),
        ((100, 12, 768, (16, 16)), None),
    ],
)
def test_closest_variant(sizes: tuple[int, int, int, tuple[int, int]], name: str | None) -> None:
    assert conventions.closest_variant(*sizes) == name
