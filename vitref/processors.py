"""What other libraries' config files say about pixels, as Preprocessing fields with their sources.

Sources: timm/models/_pretrained.py (what is assumed when an entry is left out) and
timm/data/transforms_factory.py (crop_mode); transformers/models/vit/image_processing_vit.py and
transformers/image_processing_utils.py (settings and their defaults).
"""

import math
from collections.abc import Mapping
from typing import Any

from vitref.conventions import Fact
from vitref.errors import ConfigError

CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"

_TIMM = "timm/models/_pretrained.py: PretrainedCfg"
_TIMM_ENTRIES: dict[str, Any] = {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}
TIMM_INPUT_SIZE = {"channels": Fact(3, _TIMM), "image_size": Fact((224, 224), _TIMM)}
"""What timm assumes where input_size is left out."""

_TIMM_RESIZES = {"center": "shortest", "squash": "squash"}

_HF = "transformers/models/vit/image_processing_vit.py: ViTImageProcessor"
_HF_TYPES = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")
_HF_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_HF_HALF = [0.5, 0.5, 0.5]
HF_IMAGE_SIZE, HF_CHANNELS = 224, 3
"""What transformers/models/vit/configuration_vit.py: ViTConfig assumes where an entry is left out."""
_HF_FIXED: dict[str, tuple[Any, ...]] = {
    "do_resize": (True,),
    "do_rescale": (True,),
    "do_center_crop": (False,),
    "do_pad": (False,),
    "do_convert_rgb": (True, False),
    "do_reduce_labels": (False,),
    "do_grayscale": (False,),
    "do_thumbnail": (False,),
    "do_align_long_axis": (False,),
    "do_flip_channel_order": (False,),
    "offset": (False,),
}
"""Setting -> the values that make no difference to what is supported; leaving it out is one of them."""


def timm(pretrained: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """From `pretrained_cfg` of timm's config.json: mean, std, interpolation, crop_pct and resize.

    where  the place of the entries, `config.json: pretrained_cfg` say

    Raises ConfigError for what is not supported.
    """
    facts = {}
    for name, default in _TIMM_ENTRIES.items():
        stated = pretrained.get(name)
        facts[name] = Fact(default, _TIMM) if stated is None else Fact(stated, f"{dot(where)}{name}")
    mode = facts.pop("crop_mode")
    if not isinstance(mode.value, str) or mode.value not in _TIMM_RESIZES:
        raise wrong(f"{dot(where)}crop_mode", mode.value, f"one of {', '.join(_TIMM_RESIZES)}")
    number(facts["crop_pct"].value, f"{dot(where)}crop_pct")
    return {**facts, "resize": Fact(_TIMM_RESIZES[mode.value], f"{mode.source} {mode.value!r}")}


def pretrained_cfg(content: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str]:
    """timm's entries about the pixels and their place: nested, or at the top, as in older files."""
    if "pretrained_cfg" not in content:
        return content, where
    where = f"{where}: pretrained_cfg"
    if not isinstance(content["pretrained_cfg"], dict):
        raise wrong(where, content["pretrained_cfg"], "a JSON object")
    return content["pretrained_cfg"], where


def input_size(pretrained: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """timm's input_size as channels and image_size; empty when it is left out."""
    size = pretrained.get("input_size")
    if size is None:
        return {}
    if not isinstance(size, list) or len(size) != 3 or not all(type(number) is int for number in size):
        raise wrong(f"{dot(where)}input_size", size, "three whole numbers: channels, height, width")
    source = f"{dot(where)}input_size"
    return {"channels": Fact(size[0], source), "image_size": Fact((size[1], size[2]), source)}


def huggingface(content: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """From preprocessor_config.json of a ViT: size, mean, std, interpolation, resize, and crop_pct 1.

    Raises ConfigError, naming the settings, for what is not supported.
    """
    _require_supported(content, where)
    normalised = content.get("do_normalize")
    if normalised not in (None, True, False):
        raise wrong(f"{dot(where)}do_normalize", normalised, "true or false")
    if normalised is False:
        source = f"{dot(where)}do_normalize false"
        statistics = {"mean": Fact(0.0, source), "std": Fact(1.0, source)}
    else:
        names = {"mean": "image_mean", "std": "image_std"}
        statistics = {field: _stated(content, names[field], _HF_HALF, where) for field in names}
        statistics = {field: Fact(_one(fact), fact.source) for field, fact in statistics.items()}
    size, filter_ = _stated(content, "size", 224, where), _stated(content, "resample", 2, where)
    if type(filter_.value) is not int or filter_.value not in _HF_FILTERS:
        raise wrong(f"{dot(where)}resample", filter_.value, _listed(_HF_FILTERS))
    return {
        "size": Fact(_height_and_width(size.value, size.source), size.source),
        "resize": Fact("squash", size.source),
        "crop_pct": Fact(1.0, f"{_HF}: no crop"),
        "interpolation": Fact(_HF_FILTERS[filter_.value], f"{filter_.source} {filter_.value}"),
        **statistics,
    }


def huggingface_model(content: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """From config.json of a ViT: size and channels of its pictures. Raises ConfigError for another model."""
    require_vit(content, where)
    entries = {"size": ("image_size", HF_IMAGE_SIZE), "channels": ("num_channels", HF_CHANNELS)}
    return {
        field: Fact(content[name], f"{dot(where)}{name}")
        if content.get(name) is not None
        else Fact(default, "transformers/models/vit/configuration_vit.py: ViTConfig, default")
        for field, (name, default) in entries.items()
    }


def require_vit(content: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError unless config.json is that of a plain ViT of transformers."""
    if content.get("model_type") != "vit":
        kind = content.get("model_type")
        raise ConfigError(
            f"{dot(where)}model_type",
            found="nothing" if kind is None else repr(kind),
            expected='"vit"',
            remedy='Add "model_type": "vit" if the model is one.'
            if kind is None
            else "This is not supported in this version.",
        )


def dot(where: str) -> str:
    """`config.json: model_args` + name, or `config.json` + name, as one place in the file."""
    return f"{where}." if ": " in where else f"{where}: "


def number(value: Any, where: str) -> float:
    """The value, when it is a number above 0; else ConfigError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1e-6 < value < 1e6:
        raise wrong(where, value, "a number above 0")
    return float(value)


def wrong(where: str, value: Any, expected: str) -> ConfigError:
    """The error of an entry in a config file."""
    return ConfigError(
        where, found=repr(value), expected=expected, remedy="Correct the file, or give a folder without it."
    )


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in names.items())


def _stated(content: Mapping[str, Any], name: str, default: Any, where: str) -> Fact:
    value = content.get(name)
    return Fact(default, f"{_HF}, default") if value is None else Fact(value, f"{dot(where)}{name}")


def _one(fact: Fact) -> Any:
    """Equal statistics of three channels as one number, which does for one channel as for three."""
    value = fact.value
    if isinstance(value, list) and len(value) not in (1, 3):
        raise wrong(fact.source, value, "one number per channel: 1 or 3")
    same = isinstance(value, list) and len(value) > 1 and all(part == value[0] for part in value)
    return value[0] if same else value


def _height_and_width(size: Any, where: str) -> Any:
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        return [size["height"], size["width"]]
    if type(size) is int:
        return [size, size]
    raise wrong(where, size, "height and width: the resize that squashes to exactly this size")


def _require_supported(content: Mapping[str, Any], where: str) -> None:
    kind = content.get("image_processor_type", content.get("feature_extractor_type", _HF_TYPES[0]))
    bad = {} if kind in _HF_TYPES else {"image_processor_type": kind}
    for name, value in content.items():
        fixed = _HF_FIXED.get(name, (False,) if name.startswith("do_") and name != "do_normalize" else None)
        if fixed is not None and value is not None and not any(value is allowed for allowed in fixed):
            bad[name] = value
    factor = content.get("rescale_factor")
    if factor is not None and not (type(factor) is float and math.isclose(factor, 1 / 255, rel_tol=1e-12)):
        bad["rescale_factor"] = factor
    if bad:
        raise ConfigError(
            where,
            found=", ".join(f"{name}={value!r}" for name, value in bad.items()),
            expected=f"settings of {_HF_TYPES[0]} that resize to a fixed size, divide by 255 and normalise",
            remedy="This is not supported; give preprocessing=, or a folder without this file.",
        )
