"""Hugging Face transformers, model type "vit": names, layouts, and what its config.json says.

Query, key and value are three layers, stacked here into one. The files on the hub, and those that
transformers writes, call the blocks `encoder.layer.L`; the modules of transformers 5 call them `layers.L`.
Models with a head have the prefix `vit.`; a bare ViTModel has none, and may have a pooler, a linear layer
with tanh on the class token, which is `pre_logits` here. Each naming is a style of its own; by default
that of the hub is written, with the prefix when there is a head.

Source: transformers/models/vit/modeling_vit.py (modules), configuration_vit.py (settings and their
defaults), transformers/conversion_mapping.py (old names to new), configuration_utils.py (num_labels).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from vitref import config as model
from vitref import processors
from vitref.config import Config
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.processors import dot, wrong
from vitref.weights.check import BLOCK
from vitref.weights.formats.format import ConfigFile, Format, Tensors, cannot_express, stacked

_MODELING = "transformers/models/vit/modeling_vit.py: ViTModel"
_DEFAULTS = "transformers/models/vit/configuration_vit.py: ViTConfig, default"
_CLASSIFIER = "ViTForImageClassification"

_BODY = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "norm": "layernorm",
    "pre_logits.fc": "pooler.dense",
}
_HEAD = {"head": "classifier"}

_HUB = {
    "norm1": "layernorm_before",
    "attn.qkv": "attention.attention.{}",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_MODULES = {
    "norm1": "layernorm_before",
    "attn.qkv": "attention.{}",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


class _Naming(NamedTuple):
    """blocks: what stands before a block's number; inner: what stands within; parts: of the stacked layer."""

    prefix: str
    blocks: str
    inner: Mapping[str, str]
    parts: tuple[str, str, str]

    def of(self, canonical: str) -> list[str]:
        """The names in the file that hold this parameter: three for query, key and value, else one."""
        block = BLOCK.match(canonical)
        if block is None:
            layer, ending = _layer(canonical)
            return [_HEAD[layer] + ending if layer in _HEAD else f"{self.prefix}{_BODY[layer]}{ending}"]
        layer, ending = _layer(canonical[block.end() :])
        name = f"{self.prefix}{self.blocks}{block[1]}.{self.inner[layer]}{ending}"
        return [name.format(part) for part in self.parts] if "{}" in name else [name]

    @property
    def style(self) -> str:
        return f"{self.prefix}{self.blocks}"


def _namings(prefix: str) -> tuple[_Naming, _Naming]:
    hub = _Naming(prefix, "encoder.layer.", _HUB, ("query", "key", "value"))
    return hub, _Naming(prefix, "layers.", _MODULES, ("q_proj", "k_proj", "v_proj"))


def _layer(name: str) -> tuple[str, str]:
    """(layer, ".weight" or ".bias"); the ending is empty for a parameter without layer."""
    layer, point, ending = name.rpartition(".")
    return (layer, point + ending) if ending in ("weight", "bias") else (name, "")


def _recognises(names: Sequence[str], *, naming: _Naming) -> bool:
    starts = tuple(f"{naming.prefix}{part}" for part in ("embeddings.", "encoder.layer.", "layers."))
    if not any(name.startswith(starts) for name in names):
        return False
    of_modules = any(name.startswith(starts[2]) for name in names)
    return of_modules == (naming.blocks == "layers.")


def _to_canonical(tensors: Mapping[str, Any], *, naming: _Naming) -> Tensors:
    found: Tensors = {}
    for canonical in _candidates(tensors, naming):
        names = naming.of(canonical)
        parts = [tensors[name] for name in names if name in tensors]
        if len(parts) == len(names):
            whole = parts[0] if len(parts) == 1 else stacked(parts)
            found |= {} if whole is None else {canonical: whole}
    return found


def _candidates(tensors: Mapping[str, Any], naming: _Naming) -> list[str]:
    """The canonical names of all parameters that a model with these blocks may have."""
    start = naming.prefix + naming.blocks
    numbers = dict.fromkeys(
        name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)
    )
    blocks = [f"blocks.{number}." for number in numbers if BLOCK.match(f"blocks.{number}.")]
    classifies = any(name.startswith("classifier.") for name in tensors)
    outer = [layer for layer in {**_BODY, **_HEAD} if not (classifies and layer == "pre_logits.fc")]
    layers = [*outer, *(f"{block}{layer}" for block in blocks for layer in _HUB)]
    return [
        f"{layer}{ending}"
        for layer in layers
        for ending in ([""] if layer in ("cls_token", "pos_embed") else [".weight", ".bias"])
    ]


def _from_canonical(tensors: Mapping[str, Any], config: Config, *, naming: _Naming | None) -> Tensors:
    _require_expressible(config)
    naming = naming or _namings("vit." if config.classes else "")[0]
    found: Tensors = {}
    for canonical, array in tensors.items():
        names = naming.of(canonical)
        rows = len(array) // len(names)
        found |= {name: array[i * rows : (i + 1) * rows] for i, name in enumerate(names)}
    return found


def _require_expressible(config: Config) -> None:
    wanted = {
        "class_token": True,
        "class_position": True,
        "pool": "token",
        "final_norm": "tokens",
        "layer_scale": False,
        **({"pre_logits": 0} if config.classes else {}),
    }
    found = {name: getattr(config, name, value) for name, value in wanted.items()}
    bad = {name: value for name, value in found.items() if value != wanted[name]}
    if bad:
        expected = ", ".join(f"{name}={wanted[name]!r}" for name in bad)
        raise cannot_express("huggingface", bad, f"{expected}, as in {_MODELING} and {_CLASSIFIER}")


def _facts(tensors: Mapping[str, Any]) -> dict[str, Fact]:
    return {
        "class_token": Fact(True, f"{_MODELING}: cls_token"),
        "class_position": Fact(True, f"{_MODELING}: positions are added after the class token"),
        "pool": Fact("token", f"{_MODELING} and {_CLASSIFIER}: token 0"),
    }


_SETTINGS: dict[str, tuple[str, Any]] = {
    "image_size": ("image_size", processors.HF_IMAGE_SIZE),
    "patch_size": ("patch_size", 16),
    "num_channels": ("channels", processors.HF_CHANNELS),
    "hidden_size": ("width", 768),
    "num_hidden_layers": ("depth", 12),
    "num_attention_heads": ("heads", 12),
    "intermediate_size": ("mlp_width", 3072),
    "layer_norm_eps": ("eps", 1e-12),
    "hidden_act": ("activation", "gelu"),
    "qkv_bias": ("qkv_bias", True),
}
"""Entry -> Config field, and what transformers assumes when the entry is left out."""

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def _read_config(content: Mapping[str, Any], where: str, sizes: Mapping[str, Fact]) -> ConfigFile | None:
    if "model_type" not in content and "hidden_size" not in content:
        return None
    processors.require_vit(content, where)
    fields = {}
    for entry, (field, default) in _SETTINGS.items():
        value = content.get(entry)
        fields[field] = Fact(default, _DEFAULTS) if value is None else Fact(value, f"{dot(where)}{entry}")
    fields |= {name: _pair(fields[name]) for name in ("image_size", "patch_size")}
    fields |= {"activation": _activation(fields["activation"], where), "position_grid": _grid(fields)}
    if content.get("head_dim") is not None:
        fields["head_dim"] = Fact(content["head_dim"], f"{dot(where)}head_dim")
    fields |= {**_classes(content, where, sizes), **_pooler(content, where, sizes, fields["width"])}
    names = content.get("id2label")
    return ConfigFile(
        fields, {}, "huggingface", "", None if names is None else Fact(names, f"{dot(where)}id2label")
    )


def _pair(fact: Fact) -> Fact:
    try:
        return Fact(model.pair("size", fact.value), fact.source)
    except ConfigError as error:
        raise wrong(fact.source, fact.value, error.expected) from None


def _grid(fields: Mapping[str, Fact]) -> Fact:
    size, patch = fields["image_size"], fields["patch_size"]
    rows, columns = (side // edge for side, edge in zip(size.value, patch.value, strict=True))
    return Fact((rows, columns), f"{size.source} over patch_size {patch.value}")


def _activation(fact: Fact, where: str) -> Fact:
    if not isinstance(fact.value, str) or fact.value not in _ACTIVATIONS:
        raise _unsupported(where, "hidden_act", fact.value, f"one of {', '.join(_ACTIVATIONS)}")
    return Fact(_ACTIVATIONS[fact.value], f"{fact.source} {fact.value!r}")


def _classes(content: Mapping[str, Any], where: str, sizes: Mapping[str, Fact]) -> dict[str, Fact]:
    """num_labels, where there is a classifier or should be one."""
    architectures = content.get("architectures")
    if not (sizes["classes"].value or (isinstance(architectures, list) and _CLASSIFIER in architectures)):
        return {}
    labels = content.get("id2label")
    if isinstance(labels, dict):
        return {"classes": Fact(len(labels), f"{dot(where)}id2label")}
    if content.get("num_labels") is not None:
        return {"classes": Fact(content["num_labels"], f"{dot(where)}num_labels")}
    return {"classes": Fact(2, "transformers/configuration_utils.py: PreTrainedConfig, default num_labels")}


def _pooler(
    content: Mapping[str, Any], where: str, sizes: Mapping[str, Fact], width: Fact
) -> dict[str, Fact]:
    """The pooler's size and activation, where there is one."""
    if not sizes["pre_logits"].value:
        return {}
    if content.get("pooler_act", "tanh") != "tanh":
        raise _unsupported(where, "pooler_act", content["pooler_act"], '"tanh"')
    size = content.get("pooler_output_size")
    return {"pre_logits": Fact(size, f"{dot(where)}pooler_output_size") if size else width}


def _unsupported(where: str, entry: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"{dot(where)}{entry}",
        found=repr(value),
        expected=expected,
        remedy="This is not supported in this version.",
    )


def _format(naming: _Naming) -> Format:
    return Format(
        "huggingface",
        None,
        partial(_recognises, naming=naming),
        partial(_to_canonical, naming=naming),
        partial(_from_canonical, naming=naming),
        _read_config,
        _facts,
        naming.style,
        processors.huggingface,
        names=naming.of,
    )


def _default() -> Format:
    """The hub's naming, with the prefix that the model calls for; only written, never recognised."""
    return Format(
        "huggingface",
        None,
        lambda names: False,
        partial(_to_canonical, naming=_namings("vit.")[0]),
        partial(_from_canonical, naming=None),
        _read_config,
        _facts,
        read_pixels=processors.huggingface,
        names=_namings("vit.")[0].of,
    )


STYLES = (_default(), *(_format(naming) for prefix in ("vit.", "") for naming in _namings(prefix)))
