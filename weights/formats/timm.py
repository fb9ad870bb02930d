"""timm: the canonical names are its own; its config.json says architecture, arguments and pixels.

Sources: timm/models/vision_transformer.py (names, arguments and their defaults),
timm/models/_hub.py (what config.json holds), timm/models/_pretrained.py (what is assumed when
pretrained_cfg leaves an entry out), timm/data/transforms_factory.py (crop_mode).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vitref.config import Config, whole
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.weights.formats.format import ConfigFile, Format, Tensors

_FIELDS = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "in_chans": "channels",
    "num_classes": "classes",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "heads",
    "qkv_bias": "qkv_bias",
    "act_layer": "activation",
    "global_pool": "pool",
}

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "act_layer": ("gelu", "gelu_tanh"),
    "global_pool": ("token",),
    "class_token": (True,),
    "pos_embed": ("learn",),
    "no_embed_class": (False,),
    "reg_tokens": (0,),
    "pre_norm": (False,),
    "final_norm": (True,),
    "fc_norm": (None, False),
    "init_values": (None,),
    "qk_norm": (False,),
    "scale_attn_norm": (False,),
    "scale_mlp_norm": (False,),
    "proj_bias": (True,),
    "pool_include_prefix": (False,),
    "dynamic_img_pad": (False,),
    "norm_layer": (None, "layernorm"),
    "embed_norm_layer": (None,),
    "mlp_layer": (None, "mlp"),
    "attn_layer": (None, "", "attn"),
}

_WITHOUT_EFFECT = {
    "dynamic_img_size",
    "strict_img_size",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "weight_init",
    "fix_init",
}

_UNSTATED = "timm/models/_pretrained.py: PretrainedCfg"

_PIXELS: dict[str, Any] = {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}

_RESIZES = {"center": "shortest", "squash": "squash"}


def _recognises(names: Sequence[str]) -> bool:
    own = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
    return not own.isdisjoint(names)


def _to_canonical(tensors: Mapping[str, Any]) -> Tensors:
    return dict(tensors)


def _from_canonical(tensors: Mapping[str, Any], config: Config) -> Tensors:
    return dict(tensors)


def _read_config(content: Mapping[str, Any], where: str, width: int) -> ConfigFile | None:
    """Also the older form, in which the entries of pretrained_cfg stand at the top (timm/models/_hub.py)."""
    if "architecture" not in content:
        return None
    architecture = content["architecture"]
    if not isinstance(architecture, str):
        raise _wrong(f"{where}: architecture", architecture, "a name")
    arguments = _object(content.get("model_args") or {}, f"{where}: model_args")
    nested = "pretrained_cfg" in content
    prefix = f"{where}: pretrained_cfg" if nested else where
    pretrained = _object(content["pretrained_cfg"] if nested else content, prefix)
    top = {
        name: content[name] for name in ("num_classes", "global_pool") if content.get(name) not in (None, "")
    }
    fields = {
        **_input_size(pretrained, prefix),
        **_arguments(top, where, width),
        **_arguments(arguments, f"{where}: model_args", width),
    }
    return ConfigFile(fields, _pixels(pretrained, prefix), "timm", architecture)


def _arguments(arguments: Mapping[str, Any], where: str, width: int) -> dict[str, Fact]:
    unknown = set(arguments) - set(_FIELDS) - set(_SUPPORTED) - _WITHOUT_EFFECT - {"mlp_ratio"}
    unsupported = [name for name, values in _SUPPORTED.items() if _differs(arguments, name, values)]
    wrong = [f"{name}={arguments[name]!r}" for name in arguments if name in unknown or name in unsupported]
    if wrong:
        raise ConfigError(
            where,
            found=", ".join(wrong),
            expected="a plain Vision Transformer with class token",
            remedy="This is not supported in this version.",
        )
    stated = {name: value for name, value in arguments.items() if value is not None}
    facts = {
        _FIELDS[name]: Fact(_listed(stated[name]), f"{_dot(where)}{name}")
        for name in stated
        if name in _FIELDS
    }
    if "mlp_ratio" in stated:
        total = whole("width", facts["width"].value if "width" in facts else width, least=1)
        ratio = _number(stated["mlp_ratio"], f"{_dot(where)}mlp_ratio")
        facts["mlp_width"] = Fact(int(total * ratio), f"{_dot(where)}mlp_ratio times width {total}")
    return facts


def _differs(arguments: Mapping[str, Any], name: str, values: tuple[Any, ...]) -> bool:
    found = arguments.get(name)
    return found is not None and not any(found == value and type(found) is type(value) for value in values)


def _input_size(pretrained: Mapping[str, Any], where: str) -> dict[str, Fact]:
    size = pretrained.get("input_size")
    if size is None:
        return {}
    if not isinstance(size, list) or len(size) != 3 or not all(type(number) is int for number in size):
        raise _wrong(f"{_dot(where)}input_size", size, "three whole numbers: channels, height, width")
    source = f"{_dot(where)}input_size"
    return {"channels": Fact(size[0], source), "image_size": Fact((size[1], size[2]), source)}


def _pixels(pretrained: Mapping[str, Any], where: str) -> dict[str, Fact]:
    facts = {}
    for name, default in _PIXELS.items():
        stated = pretrained.get(name)
        facts[name] = Fact(default, _UNSTATED) if stated is None else Fact(stated, f"{_dot(where)}{name}")
    mode = facts.pop("crop_mode")
    if not isinstance(mode.value, str) or mode.value not in _RESIZES:
        raise _wrong(f"{_dot(where)}crop_mode", mode.value, f"one of {', '.join(_RESIZES)}")
    _number(facts["crop_pct"].value, f"{_dot(where)}crop_pct")
    return {**facts, "resize": Fact(_RESIZES[mode.value], f"{mode.source} {mode.value!r}")}


def _dot(where: str) -> str:
    """`config.json: model_args` + name, or `config.json` + name, as one place in the file."""
    return f"{where}." if ": " in where else f"{where}: "


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _number(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1e-6 < value < 1e6:
        raise _wrong(where, value, "a number above 0")
    return float(value)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "a JSON object")
    return value


def _wrong(where: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        where, found=repr(value), expected=expected, remedy="Correct the file, or give a folder without it."
    )


FORMAT = Format("timm", None, _recognises, _to_canonical, _from_canonical, _read_config)
