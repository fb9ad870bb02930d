"""Provenance: the facts on which official sources disagree, and the published models, as data with sources.

A convention is one library's way to run a model: its numerics (`model_facts`) and its pixels
(`pixel_facts`). A variant is a published size of the Vision Transformer; an architecture is a
library's name for one. Nothing here computes; adding a convention means adding rows to the tables.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from vitref.errors import ConfigError


class Fact(NamedTuple):
    """A value and the public source, or the argument or file, that says so."""

    value: Any
    source: str


class Size(NamedTuple):
    """A published size: the body, and the patch sizes that came with it (those of timm's names included)."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_sizes: tuple[int, ...]
    source: str


_MODEL: dict[str, dict[str, Fact]] = {
    "timm": {
        "eps": Fact(1e-6, "timm/layers/norm.py: LayerNorm(eps=1e-6)"),
        "activation": Fact("gelu", "timm/models/vision_transformer.py: act_layer or nn.GELU, the exact form"),
        "pool": Fact("token", "timm/models/vision_transformer.py: global_pool='token'"),
    },
}

_PIXELS: dict[str, dict[str, Fact]] = {
    "timm": {
        "mean": Fact(0.5, "timm/models/vision_transformer.py: _cfg mean=IMAGENET_INCEPTION_MEAN"),
        "std": Fact(0.5, "timm/models/vision_transformer.py: _cfg std=IMAGENET_INCEPTION_STD"),
        "interpolation": Fact("bicubic", "timm/models/vision_transformer.py: _cfg interpolation='bicubic'"),
        "crop_pct": Fact(0.9, "timm/models/vision_transformer.py: _cfg crop_pct=0.9"),
        "interpolation_not_square": Fact(
            "bilinear", "timm/data/transforms_factory.py: ResizeKeepRatio(scale_size) keeps its own filter"
        ),
        "resize": Fact("shortest", "timm/data/transforms_factory.py: crop_mode 'center'"),
    },
}

_VIT_JAX = "google-research/vision_transformer: vit_jax/configs/models.py"
_SCALING = "Zhai et al. 2021, arXiv:2106.04560, table 2"

_SIZES: dict[str, Size] = {
    "Ti": Size(192, 12, 3, 768, (16,), _VIT_JAX),
    "S": Size(384, 12, 6, 1536, (8, 16, 32), _VIT_JAX),
    "B": Size(768, 12, 12, 3072, (8, 16, 32), _VIT_JAX),
    "L": Size(1024, 24, 16, 4096, (14, 16, 32), _VIT_JAX),
    "H": Size(1280, 32, 16, 5120, (14,), _VIT_JAX),
    "g": Size(1408, 40, 16, 6144, (14,), _SCALING),
    "G": Size(1664, 48, 16, 8192, (14,), _SCALING),
}

_VARIANTS: dict[str, tuple[Size, int]] = {
    f"ViT-{name}/{patch}": (size, patch) for name, size in _SIZES.items() for patch in size.patch_sizes
}

_VIT, _DEIT = "timm/models/vision_transformer.py", "timm/models/deit.py"

_ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "vit_tiny_patch16_224": ("ViT-Ti/16", {}, _VIT),
    "vit_tiny_patch16_384": ("ViT-Ti/16", {}, _VIT),
    "vit_small_patch32_224": ("ViT-S/32", {}, _VIT),
    "vit_small_patch32_384": ("ViT-S/32", {}, _VIT),
    "vit_small_patch16_224": ("ViT-S/16", {}, _VIT),
    "vit_small_patch16_384": ("ViT-S/16", {}, _VIT),
    "vit_small_patch8_224": ("ViT-S/8", {}, _VIT),
    "vit_base_patch32_224": ("ViT-B/32", {}, _VIT),
    "vit_base_patch32_384": ("ViT-B/32", {}, _VIT),
    "vit_base_patch16_224": ("ViT-B/16", {}, _VIT),
    "vit_base_patch16_384": ("ViT-B/16", {}, _VIT),
    "vit_base_patch16_224_miil": ("ViT-B/16", {"qkv_bias": False}, _VIT),
    "vit_base_patch8_224": ("ViT-B/8", {}, _VIT),
    "vit_large_patch32_224": ("ViT-L/32", {}, _VIT),
    "vit_large_patch32_384": ("ViT-L/32", {}, _VIT),
    "vit_large_patch16_224": ("ViT-L/16", {}, _VIT),
    "vit_large_patch16_384": ("ViT-L/16", {}, _VIT),
    "vit_large_patch14_224": ("ViT-L/14", {}, _VIT),
    "vit_huge_patch14_224": ("ViT-H/14", {}, _VIT),
    "vit_giant_patch14_224": ("ViT-g/14", {}, _VIT),
    "vit_gigantic_patch14_224": ("ViT-G/14", {}, _VIT),
    "test_vit": ("ViT-Ti/16", {"width": 64, "depth": 6, "heads": 2, "mlp_width": 192}, _VIT),
    "deit_tiny_patch16_224": ("ViT-Ti/16", {}, _DEIT),
    "deit_small_patch16_224": ("ViT-S/16", {}, _DEIT),
    "deit_base_patch16_224": ("ViT-B/16", {}, _DEIT),
    "deit_base_patch16_384": ("ViT-B/16", {}, _DEIT),
}


def names() -> list[str]:
    """The known conventions."""
    return list(_MODEL)


def model_facts(convention: str) -> dict[str, Fact]:
    """Config field -> Fact, for the numerics that `convention` fixes. Raises ConfigError when unknown."""
    return dict(_MODEL[_known(convention, _MODEL, "convention")])


def pixel_facts(convention: str) -> dict[str, Fact]:
    """mean, std, resize, crop_pct (crop over resized edge), interpolation, and interpolation_not_square
    (the filter where the resized size is not square), as Facts.

    Raises ConfigError when unknown.
    """
    return dict(_PIXELS[_known(convention, _PIXELS, "convention")])


def variant(name: str) -> dict[str, Any]:
    """The Config fields of a published size, `"ViT-B/16"` say. Raises ConfigError when unknown.

    Sources: see `_SIZES`; big_vision/models/vit.py (decode_variant) lists the same numbers.
    """
    size, patch = _VARIANTS[_known(name, _VARIANTS, "variant")]
    return {
        "patch_size": (patch, patch),
        "channels": 3,
        "width": size.width,
        "depth": size.depth,
        "heads": size.heads,
        "mlp_width": size.mlp_width,
    }


def variant_source(name: str) -> str:
    """Where the numbers of `variant(name)` are published. Raises ConfigError when unknown."""
    return _VARIANTS[_known(name, _VARIANTS, "variant")][0].source


def architecture(name: str) -> Fact | None:
    """The Config fields (a dict) of timm's plain ViT of this name, and their source; None when not listed."""
    if name not in _ARCHITECTURES:
        return None
    base, differing, source = _ARCHITECTURES[name]
    return Fact({**variant(base), "qkv_bias": True, **differing}, f"{source}: {name}")


def closest_variant(width: int, depth: int, mlp_width: int, patch_size: tuple[int, int]) -> str | None:
    """The published variant of this width that agrees in most of the rest; None when no width is the same."""

    def agreement(name: str) -> int:
        size, patch = _VARIANTS[name]
        same_body = (size.depth == depth) + (size.mlp_width == mlp_width)
        return 4 * same_body + 2 * (patch_size == (patch, patch)) + (patch == 16)

    candidates = [name for name, (size, _) in _VARIANTS.items() if size.width == width]
    return max(candidates, key=agreement, default=None)


def _known(name: str, table: Iterable[str], what: str) -> str:
    if not isinstance(name, str) or name not in table:
        raise ConfigError(
            what,
            found=repr(name),
            expected=f"one of {', '.join(table)}",
            remedy=f"Give one of these names as the {what}.",
        )
    return name
