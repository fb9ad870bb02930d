"""timm: the canonical names are its own; its config.json says architecture, arguments and pixels.

Sources: timm/models/vision_transformer.py (names, arguments and their defaults),
timm/models/_hub.py (what config.json holds); for the pixels, `vitref.processors`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vitref import conventions, processors
from vitref.config import LARGEST, Config, pair
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.processors import dot, number, wrong
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
    "class_token": "class_token",
}

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "act_layer": ("gelu", "gelu_tanh"),
    "global_pool": ("token", "avg"),
    "class_token": (True, False),
    "pos_embed": ("learn",),
    "no_embed_class": (False, True),
    "reg_tokens": (0,),
    "pre_norm": (False,),
    "final_norm": (True,),
    "fc_norm": (None, False, True),
    "qk_norm": (False,),
    "scale_attn_norm": (False,),
    "scale_mlp_norm": (False,),
    "proj_bias": (True,),
    "pool_include_prefix": (False, True),
    "dynamic_img_pad": (False,),
    "norm_layer": (None, "layernorm"),
    "embed_norm_layer": (None,),
    "mlp_layer": (None, "mlp"),
    "attn_layer": (None, "", "attn"),
}

_MLP_RATIO = 4
"""timm's default."""

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


def _recognises(names: Sequence[str]) -> bool:
    own = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
    return not own.isdisjoint(names)


def _to_canonical(tensors: Mapping[str, Any]) -> Tensors:
    return dict(tensors)


def _from_canonical(tensors: Mapping[str, Any], config: Config) -> Tensors:
    return dict(tensors)


def _read_config(content: Mapping[str, Any], where: str, sizes: Mapping[str, Fact]) -> ConfigFile | None:
    """Also the older form, in which the entries of pretrained_cfg stand at the top (timm/models/_hub.py)."""
    if "architecture" not in content:
        return None
    architecture = content["architecture"]
    if not isinstance(architecture, str):
        raise wrong(f"{where}: architecture", architecture, "a name")
    arguments = _object(content.get("model_args") or {}, f"{where}: model_args")
    pretrained, prefix = processors.pretrained_cfg(content, where)
    top = {
        name: content[name] for name in ("num_classes", "global_pool") if content.get(name) not in (None, "")
    }
    place = f"{where}: model_args"
    width = _width(content, arguments, where, sizes["width"])
    fields = {
        **processors.input_size(pretrained, prefix),
        **_arguments(top, where),
        **_arguments(arguments, place),
        **({"width": width} if width else {}),
        **_mlp_width(arguments.get("mlp_ratio"), place, width, architecture, sizes),
        **_pool(top, arguments, where),
    }
    names = content.get("label_names")
    return ConfigFile(
        fields,
        processors.timm(pretrained, prefix),
        "timm",
        architecture,
        None if names is None else Fact(names, f"{where}: label_names"),
    )


def _width(content: Mapping[str, Any], arguments: Mapping[str, Any], where: str, found: Fact) -> Fact | None:
    """embed_dim or num_features, which timm writes too; of the two, one that contradicts the tensors."""
    places = {
        f"{where}: model_args.embed_dim": arguments.get("embed_dim"),
        f"{where}: num_features": content.get("num_features"),
    }
    stated = [Fact(value, place) for place, value in places.items() if value is not None]
    return next((fact for fact in stated if fact.value != found.value), stated[0] if stated else None)


def _mlp_width(
    ratio: Any, where: str, width: Fact | None, architecture: str, sizes: Mapping[str, Fact]
) -> dict[str, Fact]:
    """mlp_ratio times the width. Where only another width than the published is said, timm's own ratio
    applies, unless the architecture has another: then the tensors tell."""
    if ratio is not None:
        number(ratio, f"{dot(where)}mlp_ratio")
    total = width.value if width else sizes["width"].value
    if type(total) is not int or not 0 < total < LARGEST:
        return {"mlp_width": sizes["mlp_width"]}
    if ratio is not None:
        return {"mlp_width": Fact(int(total * ratio), f"{dot(where)}mlp_ratio times width {total}")}
    published = conventions.architecture(architecture)
    if width is None or published is None or total == published.value["width"]:
        return {}
    if published.value["mlp_width"] != _MLP_RATIO * published.value["width"]:
        return {"mlp_width": sizes["mlp_width"]}
    return {"mlp_width": Fact(_MLP_RATIO * total, f"{width.source} times {_MLP_RATIO}, timm's mlp_ratio")}


def _arguments(arguments: Mapping[str, Any], where: str) -> dict[str, Fact]:
    unknown = set(arguments) - set(_FIELDS) - set(_SUPPORTED) - _WITHOUT_EFFECT - {"mlp_ratio", "init_values"}
    unsupported = [name for name, values in _SUPPORTED.items() if _differs(arguments, name, values)]
    bad = [f"{name}={arguments[name]!r}" for name in arguments if name in unknown or name in unsupported]
    if bad:
        raise ConfigError(
            where,
            found=", ".join(bad),
            expected="a plain Vision Transformer",
            remedy="This is not supported in this version.",
        )
    stated = {name: value for name, value in arguments.items() if value is not None}
    facts = {
        _FIELDS[name]: Fact(_listed(stated[name]), f"{dot(where)}{name}")
        for name in stated
        if name in _FIELDS
    }
    return {**facts, **_options(stated, where)}


def _options(stated: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """Arguments that Config calls otherwise."""
    facts = {}
    if "no_embed_class" in stated:
        facts["class_position"] = Fact(not stated["no_embed_class"], f"{dot(where)}no_embed_class")
    if "init_values" in stated:
        scaled = stated["init_values"] != 0 and bool(
            number(stated["init_values"], f"{dot(where)}init_values")
        )
        facts["layer_scale"] = Fact(scaled, f"{dot(where)}init_values")
    if "fc_norm" in stated:
        facts["final_norm"] = Fact("pooled" if stated["fc_norm"] else "tokens", f"{dot(where)}fc_norm")
    return facts


def _pool(top: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> dict[str, Fact]:
    inner = arguments.get("global_pool") is not None
    name = arguments["global_pool"] if inner else top.get("global_pool")
    source = f"{where}: {'model_args.' if inner else ''}global_pool"
    if name is None:
        return {}
    if name == "avg" and arguments.get("pool_include_prefix"):
        return {"pool": Fact("mean_all", f"{source}, and pool_include_prefix")}
    return {"pool": Fact("mean" if name == "avg" else name, source)}


def _modernise(tensors: Tensors, facts: Mapping[str, Fact]) -> tuple[Tensors, dict[str, str]]:
    """A patch embedding of before it was a convolution, (width, channels x rows x columns), reshaped.

    timm/models/vision_transformer.py: checkpoint_filter_fn. Left as it is while the patch size is not
    said or does not fit, so that its shape is reported.
    """
    name = "patch_embed.proj.weight"
    array = tensors.get(name)
    if array is None or array.ndim != 2 or "patch_size" not in facts:
        return tensors, {}
    rows, columns = pair("patch_size", facts["patch_size"].value)
    if array.shape[1] == 0 or array.shape[1] % (rows * columns):
        return tensors, {}
    made = array.reshape(array.shape[0], -1, rows, columns)
    remark = f"reshaped from {array.shape} to {made.shape} by the patch size ({facts['patch_size'].source})"
    return {**tensors, name: made}, {name: remark}


def _differs(arguments: Mapping[str, Any], name: str, values: tuple[Any, ...]) -> bool:
    found = arguments.get(name)
    return found is not None and not any(found == value and type(found) is type(value) for value in values)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong(where, value, "a JSON object")
    return value


FORMAT = Format(
    "timm",
    None,
    _recognises,
    _to_canonical,
    _from_canonical,
    _read_config,
    modernise=_modernise,
)
