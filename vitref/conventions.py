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


_TIMM_VIT, _TIMM_POSITIONS = "timm/models/vision_transformer.py", "timm/layers/pos_embed.py"
_HF_CONFIG = "transformers/models/vit/configuration_vit.py"
_HF_MODEL = "transformers/models/vit/modeling_vit.py"
_HF_PIXELS = "transformers/models/vit/image_processing_vit.py"
_VIT_JAX = "google-research/vision_transformer: vit_jax/configs/models.py"
_JAX_MODEL = "google-research/vision_transformer: vit_jax/models_vit.py"
_JAX_INPUT = "google-research/vision_transformer: vit_jax/input_pipeline.py"

_MODEL: dict[str, dict[str, Fact]] = {
    "timm": {
        "eps": Fact(1e-6, "timm/layers/norm.py: LayerNorm(eps=1e-6)"),
        "activation": Fact("gelu", f"{_TIMM_VIT}: act_layer or nn.GELU, the exact form"),
        "pool": Fact("token", f"{_TIMM_VIT}: global_pool='token'"),
        "position_resize": Fact(
            "bicubic_antialias",
            f"{_TIMM_POSITIONS}: resample_abs_pos_embed, bicubic, antialias",
        ),
    },
    "huggingface": {
        "eps": Fact(1e-12, f"{_HF_CONFIG}: layer_norm_eps=1e-12"),
        "activation": Fact("gelu", f"{_HF_CONFIG}: hidden_act='gelu', the exact form"),
        "pool": Fact("token", f"{_HF_MODEL}: the head reads token 0"),
        "position_resize": Fact(
            "bicubic", f"{_HF_MODEL}: interpolate_pos_encoding, mode bicubic, align_corners=False"
        ),
    },
    "google": {
        "eps": Fact(1e-6, "flax/linen/normalization.py: LayerNorm(epsilon=1e-6)"),
        "activation": Fact("gelu_tanh", f"{_JAX_MODEL}: nn.gelu, in flax approximate=True"),
        "pool": Fact("token", f"{_VIT_JAX}: classifier='token'"),
        "position_resize": Fact(
            "bilinear_corners",
            "google-research/vision_transformer: vit_jax/checkpoint.py: interpolate_posembed, "
            "scipy.ndimage.zoom(order=1)",
        ),
    },
}

TIMM_POOL_WITH_NORM = Fact("mean", f"{_TIMM_VIT}: fc_norm is used where global_pool is 'avg'")
"""timm's pool for a model with `fc_norm`, unless something says otherwise."""

_PIXELS: dict[str, dict[str, Fact]] = {
    "timm": {
        "mean": Fact(0.5, f"{_TIMM_VIT}: _cfg mean=IMAGENET_INCEPTION_MEAN"),
        "std": Fact(0.5, f"{_TIMM_VIT}: _cfg std=IMAGENET_INCEPTION_STD"),
        "interpolation": Fact("bicubic", f"{_TIMM_VIT}: _cfg interpolation='bicubic'"),
        "crop_pct": Fact(0.9, f"{_TIMM_VIT}: _cfg crop_pct=0.9"),
        "resize": Fact("shortest", "timm/data/transforms_factory.py: crop_mode 'center'"),
    },
    "huggingface": {
        "mean": Fact(0.5, f"{_HF_PIXELS}: image_mean=IMAGENET_STANDARD_MEAN"),
        "std": Fact(0.5, f"{_HF_PIXELS}: image_std=IMAGENET_STANDARD_STD"),
        "interpolation": Fact("bilinear", f"{_HF_PIXELS}: resample=BILINEAR"),
        "crop_pct": Fact(1.0, f"{_HF_PIXELS}: no crop"),
        "resize": Fact("squash", f"{_HF_PIXELS}: size gives height and width"),
    },
    "google": {
        "mean": Fact(0.5, f"{_JAX_INPUT}: (image - 127.5) / 127.5"),
        "std": Fact(0.5, f"{_JAX_INPUT}: (image - 127.5) / 127.5"),
        "interpolation": Fact("bilinear_tf", f"{_JAX_INPUT}: tf.image.resize"),
        "crop_pct": Fact(1.0, f"{_JAX_INPUT}: no crop for evaluation"),
        "resize": Fact("squash", f"{_JAX_INPUT}: tf.image.resize to [image_size, image_size]"),
    },
}

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

_DEIT = "timm/models/deit.py"

_PLAIN: dict[str, Any] = {
    "qkv_bias": True,
    "class_token": True,
    "class_position": True,
    "layer_scale": False,
    "pool": "token",
}
_GAP: dict[str, Any] = {"class_token": False, "pool": "mean"}
_GAP_SCALED: dict[str, Any] = {**_GAP, "layer_scale": True, "qkv_bias": False}
_MEDIUM: dict[str, Any] = {"width": 512, "depth": 12, "heads": 8, "mlp_width": 2048}
_BETWIXT: dict[str, Any] = {"width": 640, "depth": 12, "heads": 10, "mlp_width": 2560}
_SO400M: dict[str, Any] = {"width": 1152, "depth": 27, "heads": 16, "mlp_width": 4304}
_GIANTOPT: dict[str, Any] = {"width": 1536, "depth": 40, "heads": 16, "mlp_width": 6144}
_PLUS: dict[str, Any] = {"width": 896, "depth": 12, "heads": 14, "mlp_width": 3584, "layer_scale": True}
_SCALED: dict[str, Any] = {"layer_scale": True}
_PATCHES_ONLY: dict[str, Any] = {"class_position": False}
_DEIT3: dict[str, Any] = {"layer_scale": True, "class_position": False}
_TANH: dict[str, Any] = {"activation": "gelu_tanh"}

_ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "vit_tiny_patch16_224": ("ViT-Ti/16", {}, _TIMM_VIT),
    "vit_tiny_patch16_384": ("ViT-Ti/16", {}, _TIMM_VIT),
    "vit_small_patch32_224": ("ViT-S/32", {}, _TIMM_VIT),
    "vit_small_patch32_384": ("ViT-S/32", {}, _TIMM_VIT),
    "vit_small_patch16_224": ("ViT-S/16", {}, _TIMM_VIT),
    "vit_small_patch16_384": ("ViT-S/16", {}, _TIMM_VIT),
    "vit_small_patch8_224": ("ViT-S/8", {}, _TIMM_VIT),
    "vit_base_patch32_224": ("ViT-B/32", {}, _TIMM_VIT),
    "vit_base_patch32_384": ("ViT-B/32", {}, _TIMM_VIT),
    "vit_base_patch16_224": ("ViT-B/16", {}, _TIMM_VIT),
    "vit_base_patch16_384": ("ViT-B/16", {}, _TIMM_VIT),
    "vit_base_patch16_224_miil": ("ViT-B/16", {"qkv_bias": False}, _TIMM_VIT),
    "vit_base_patch8_224": ("ViT-B/8", {}, _TIMM_VIT),
    "vit_large_patch32_224": ("ViT-L/32", {}, _TIMM_VIT),
    "vit_large_patch32_384": ("ViT-L/32", {}, _TIMM_VIT),
    "vit_large_patch16_224": ("ViT-L/16", {}, _TIMM_VIT),
    "vit_large_patch16_384": ("ViT-L/16", {}, _TIMM_VIT),
    "vit_large_patch14_224": ("ViT-L/14", {}, _TIMM_VIT),
    "vit_huge_patch14_224": ("ViT-H/14", {}, _TIMM_VIT),
    "vit_giant_patch14_224": ("ViT-g/14", {}, _TIMM_VIT),
    "vit_gigantic_patch14_224": ("ViT-G/14", {}, _TIMM_VIT),
    "vit_medium_patch16_gap_240": ("ViT-S/16", {**_MEDIUM, **_GAP_SCALED}, _TIMM_VIT),
    "vit_medium_patch16_gap_256": ("ViT-S/16", {**_MEDIUM, **_GAP_SCALED}, _TIMM_VIT),
    "vit_medium_patch16_gap_384": ("ViT-S/16", {**_MEDIUM, **_GAP_SCALED}, _TIMM_VIT),
    "vit_betwixt_patch16_gap_256": ("ViT-S/16", {**_BETWIXT, **_GAP_SCALED}, _TIMM_VIT),
    "vit_base_patch16_gap_224": ("ViT-B/16", {**_GAP, "heads": 16}, _TIMM_VIT),
    "vit_huge_patch14_gap_224": ("ViT-H/14", _GAP, _TIMM_VIT),
    "vit_huge_patch16_gap_448": ("ViT-H/14", {**_GAP, "patch_size": (16, 16)}, _TIMM_VIT),
    "vit_giant_patch16_gap_224": ("ViT-g/14", {**_GAP, "patch_size": (16, 16)}, _TIMM_VIT),
    "vit_base_patch32_plus_256": ("ViT-B/32", _PLUS, _TIMM_VIT),
    "vit_base_patch16_plus_240": ("ViT-B/16", _PLUS, _TIMM_VIT),
    "vit_small_patch16_36x1_224": ("ViT-S/16", {"depth": 36, **_SCALED}, _TIMM_VIT),
    "flexivit_small": ("ViT-S/16", _PATCHES_ONLY, _TIMM_VIT),
    "flexivit_base": ("ViT-B/16", _PATCHES_ONLY, _TIMM_VIT),
    "flexivit_large": ("ViT-L/16", _PATCHES_ONLY, _TIMM_VIT),
    "vit_small_patch14_dinov2": ("ViT-S/16", {"patch_size": (14, 14), **_SCALED}, _TIMM_VIT),
    "vit_base_patch14_dinov2": ("ViT-B/16", {"patch_size": (14, 14), **_SCALED}, _TIMM_VIT),
    "vit_large_patch14_dinov2": ("ViT-L/14", _SCALED, _TIMM_VIT),
    "vit_base_patch32_siglip_gap_256": ("ViT-B/32", {**_GAP, **_TANH}, _TIMM_VIT),
    "vit_base_patch16_siglip_gap_224": ("ViT-B/16", _GAP, _TIMM_VIT),
    "vit_base_patch16_siglip_gap_256": ("ViT-B/16", _GAP, _TIMM_VIT),
    "vit_base_patch16_siglip_gap_384": ("ViT-B/16", _GAP, _TIMM_VIT),
    "vit_base_patch16_siglip_gap_512": ("ViT-B/16", _GAP, _TIMM_VIT),
    "vit_large_patch16_siglip_gap_256": ("ViT-L/16", _GAP, _TIMM_VIT),
    "vit_large_patch16_siglip_gap_384": ("ViT-L/16", _GAP, _TIMM_VIT),
    "vit_large_patch16_siglip_gap_512": ("ViT-L/16", {**_GAP, **_TANH}, _TIMM_VIT),
    "vit_so400m_patch14_siglip_gap_224": ("ViT-L/14", {**_SO400M, **_GAP}, _TIMM_VIT),
    "vit_so400m_patch14_siglip_gap_378": ("ViT-L/14", {**_SO400M, **_GAP}, _TIMM_VIT),
    "vit_so400m_patch14_siglip_gap_384": ("ViT-L/14", {**_SO400M, **_GAP}, _TIMM_VIT),
    "vit_so400m_patch14_siglip_gap_448": ("ViT-L/14", {**_SO400M, **_GAP}, _TIMM_VIT),
    "vit_so400m_patch14_siglip_gap_896": ("ViT-L/14", {**_SO400M, **_GAP}, _TIMM_VIT),
    "vit_so400m_patch16_siglip_gap_256": ("ViT-L/16", {**_SO400M, **_GAP, **_TANH}, _TIMM_VIT),
    "vit_so400m_patch16_siglip_gap_384": ("ViT-L/16", {**_SO400M, **_GAP, **_TANH}, _TIMM_VIT),
    "vit_so400m_patch16_siglip_gap_512": ("ViT-L/16", {**_SO400M, **_GAP, **_TANH}, _TIMM_VIT),
    "vit_giantopt_patch16_siglip_gap_256": ("ViT-L/16", {**_GIANTOPT, **_GAP, **_TANH}, _TIMM_VIT),
    "vit_giantopt_patch16_siglip_gap_384": ("ViT-L/16", {**_GIANTOPT, **_GAP, **_TANH}, _TIMM_VIT),
    "test_vit": ("ViT-Ti/16", {"width": 64, "depth": 6, "heads": 2, "mlp_width": 192}, _TIMM_VIT),
    "deit_tiny_patch16_224": ("ViT-Ti/16", {}, _DEIT),
    "deit_small_patch16_224": ("ViT-S/16", {}, _DEIT),
    "deit_base_patch16_224": ("ViT-B/16", {}, _DEIT),
    "deit_base_patch16_384": ("ViT-B/16", {}, _DEIT),
    "deit3_small_patch16_224": ("ViT-S/16", _DEIT3, _DEIT),
    "deit3_small_patch16_384": ("ViT-S/16", _DEIT3, _DEIT),
    "deit3_medium_patch16_224": ("ViT-S/16", {**_MEDIUM, **_DEIT3}, _DEIT),
    "deit3_base_patch16_224": ("ViT-B/16", _DEIT3, _DEIT),
    "deit3_base_patch16_384": ("ViT-B/16", _DEIT3, _DEIT),
    "deit3_large_patch16_224": ("ViT-L/16", _DEIT3, _DEIT),
    "deit3_large_patch16_384": ("ViT-L/16", _DEIT3, _DEIT),
    "deit3_huge_patch14_224": ("ViT-H/14", _DEIT3, _DEIT),
}


def names() -> list[str]:
    """The known conventions."""
    return list(_MODEL)


def model_facts(convention: str) -> dict[str, Fact]:
    """Config field -> Fact, for the numerics that `convention` fixes. Raises ConfigError when unknown."""
    return dict(_MODEL[_known(convention, _MODEL, "convention")])


def pixel_facts(convention: str) -> dict[str, Fact]:
    """mean, std, resize, interpolation and crop_pct (crop over resized edge), as Facts.

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


def architecture(name: str) -> Fact | None:
    """The Config fields (a dict) of timm's plain ViT of this name, and their source; None when not listed."""
    if name not in _ARCHITECTURES:
        return None
    base, differing, source = _ARCHITECTURES[name]
    return Fact({**variant(base), **_PLAIN, **differing}, f"{source}: {name}")


def named_architecture(name: str) -> Fact:
    """As `architecture`; raises ConfigError when it is not listed."""
    found = architecture(_known(name, _ARCHITECTURES, "architecture"))
    assert found is not None
    return found


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
