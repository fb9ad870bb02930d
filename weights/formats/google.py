"""Google's vit_jax: the names and layouts of its .npz files.

Kernels are (in, out), the patch embedding is (rows, columns, in, out), and attention keeps the heads
apart: (width, heads, head_dim) for query, key and value, (heads, head_dim, width) for the output. The
published files number the modules of a block 0, 1, 2, 3; Flax since Linen numbers them by kind; both may
stand under a prefix. Each such naming is a style of its own; the published one is written by default.

Source: google-research/vision_transformer, vit_jax/models_vit.py (names, shapes, what there is) and
checkpoint.py; flax/training/checkpoints.py: convert_pre_linen.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from vitref.config import Config
from vitref.conventions import Fact
from vitref.weights.check import BLOCK
from vitref.weights.formats.format import ConfigFile, Format, Tensors, cannot_express, stacked

PREFIXES: dict[str, tuple[str, ...]] = {
    "": (),
    "opt/target/": ("opt/state/",),
    "params/": ("opt_state/", "opt/", "extra/", "step"),
}
"""Prefix of the parameters -> how the names begin that belong to training, such as the optimiser's state."""

_SOURCE = "vit_jax/models_vit.py: VisionTransformer"
_BLOCK = "Transformer/encoderblock_"
_QKV = ("query", "key", "value")

_OUTER = {
    "patch_embed.proj.weight": "embedding/kernel",
    "patch_embed.proj.bias": "embedding/bias",
    "cls_token": "cls",
    "pos_embed": "Transformer/posembed_input/pos_embedding",
    "norm.weight": "Transformer/encoder_norm/scale",
    "norm.bias": "Transformer/encoder_norm/bias",
    "pre_logits.fc.weight": "pre_logits/kernel",
    "pre_logits.fc.bias": "pre_logits/bias",
    "head.weight": "head/kernel",
    "head.bias": "head/bias",
}

_INNER = {
    "norm1.weight": "LayerNorm_0/scale",
    "norm1.bias": "LayerNorm_0/bias",
    "attn.qkv.weight": "MultiHeadDotProductAttention_1/{}/kernel",
    "attn.qkv.bias": "MultiHeadDotProductAttention_1/{}/bias",
    "attn.proj.weight": "MultiHeadDotProductAttention_1/out/kernel",
    "attn.proj.bias": "MultiHeadDotProductAttention_1/out/bias",
    "norm2.weight": "LayerNorm_2/scale",
    "norm2.bias": "LayerNorm_2/bias",
    "mlp.fc1.weight": "MlpBlock_3/Dense_0/kernel",
    "mlp.fc1.bias": "MlpBlock_3/Dense_0/bias",
    "mlp.fc2.weight": "MlpBlock_3/Dense_1/kernel",
    "mlp.fc2.bias": "MlpBlock_3/Dense_1/bias",
}
"""Within a block; {} is one of `_QKV`."""

_LINEN = {
    "MultiHeadDotProductAttention_1/": "MultiHeadDotProductAttention_0/",
    "LayerNorm_2/": "LayerNorm_1/",
    "MlpBlock_3/": "MlpBlock_0/",
}


class _Naming(NamedTuple):
    """prefix: one of `PREFIXES`; linen: whether a block's modules are numbered by kind."""

    prefix: str
    linen: bool

    def of(self, canonical: str) -> str:
        """The name in the file; with {} where query, key and value stand in it apart."""
        block = BLOCK.match(canonical)
        if block is None:
            return self.prefix + _OUTER[canonical]
        inner = _INNER[canonical[block.end() :]]
        for published, by_kind in _LINEN.items() if self.linen else ():
            inner = inner.replace(published, by_kind)
        return f"{self.prefix}{_BLOCK}{block[1]}/{inner}"

    def all_of(self, canonical: str) -> list[str]:
        """The names in the file that hold this parameter: three for query, key and value, else one."""
        name = self.of(canonical)
        return [name.format(part) for part in _QKV] if "{}" in name else [name]


def _recognises(names: Sequence[str], *, naming: _Naming) -> bool:
    block = f"{naming.prefix}{_BLOCK}"
    if not any(name.startswith((block, f"{naming.prefix}embedding/")) for name in names):
        return False
    by_kind = any(f"/{part}" in name for name in names for part in _LINEN.values())
    published = any(f"/{part}" in name for name in names for part in _LINEN)
    return by_kind and not published if naming.linen else published or not by_kind


def _to_canonical(tensors: Mapping[str, Any], *, naming: _Naming) -> Tensors:
    found: Tensors = {}
    for canonical in _candidates(tensors, naming):
        name = naming.of(canonical)
        parts = [tensors[name.format(part)] for part in _QKV if name.format(part) in tensors]
        if "{}" in name and len(parts) == len(_QKV):
            whole = stacked([_from_jax(canonical, part) for part in parts])
            found |= {} if whole is None else {canonical: whole}
        elif name in tensors:
            found[canonical] = _from_jax(canonical, tensors[name])
    return found


def _candidates(tensors: Mapping[str, Any], naming: _Naming) -> list[str]:
    """The canonical names of all parameters that a model with these blocks may have."""
    block = f"{naming.prefix}{_BLOCK}"
    numbers = dict.fromkeys(n.removeprefix(block).split("/")[0] for n in tensors if n.startswith(block))
    blocks = [f"blocks.{number}." for number in numbers if BLOCK.match(f"blocks.{number}.")]
    return [*_OUTER, *(f"{at}{inner}" for at in blocks for inner in _INNER)]


def _from_jax(canonical: str, array: Any) -> Any:
    """In the canonical layout, as a view; a rank that is not the parameter's is left for the checks."""
    if canonical.endswith("attn.qkv.weight") and array.ndim == 3:
        return array.reshape(array.shape[0], array.shape[1] * array.shape[2]).T
    if canonical.endswith("attn.qkv.bias") and array.ndim == 2:
        return array.reshape(array.shape[0] * array.shape[1])
    if canonical.endswith("attn.proj.weight") and array.ndim == 3:
        return array.reshape(array.shape[0] * array.shape[1], array.shape[2]).T
    if canonical == "patch_embed.proj.weight" and array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if _is_kernel(canonical) and array.ndim == 2 else array


def _is_kernel(canonical: str) -> bool:
    return canonical.endswith(("fc.weight", "fc1.weight", "fc2.weight", "head.weight"))


def _from_canonical(tensors: Mapping[str, Any], config: Config, *, naming: _Naming) -> Tensors:
    _require_expressible(config)
    found: Tensors = {}
    for canonical, array in tensors.items():
        name = naming.of(canonical)
        if "{}" in name:
            found |= _split(name, array, config)
        else:
            found[name] = _to_jax(canonical, array, config)
    return found


def _split(name: str, array: Any, config: Config) -> Tensors:
    heads = config.heads, config.head_dim
    inner = config.heads * config.head_dim
    parts = [array[i * inner : (i + 1) * inner] for i in range(len(_QKV))]
    return {
        name.format(who): part.T.reshape(*part.shape[1:], *heads)
        for who, part in zip(_QKV, parts, strict=True)
    }


def _to_jax(canonical: str, array: Any, config: Config) -> Any:
    if canonical.endswith("attn.proj.weight"):
        return array.T.reshape(config.heads, config.head_dim, array.shape[0])
    if canonical == "patch_embed.proj.weight":
        return array.transpose(2, 3, 1, 0)
    return array.T if _is_kernel(canonical) else array


def _require_expressible(config: Config) -> None:
    wanted = {
        "pool": "token" if config.class_token else "mean",
        "class_position": True,
        "final_norm": "tokens",
        "layer_scale": False,
        "qkv_bias": True,
    }
    wrong = {name: getattr(config, name, value) for name, value in wanted.items()}
    wrong = {name: value for name, value in wrong.items() if value != wanted[name]}
    if wrong:
        expected = ", ".join(f"{name}={wanted[name]!r}" for name in wrong)
        raise cannot_express("google", wrong, f"{expected}, as in {_SOURCE}")


def _facts(tensors: Mapping[str, Any], *, naming: _Naming) -> dict[str, Fact]:
    token = f"{naming.prefix}cls"
    facts = {
        "pool": Fact("token", f"{token} is present ({_SOURCE})")
        if token in tensors
        else Fact("mean", f"no {token} is present ({_SOURCE}: classifier 'gap')"),
        "class_position": Fact(True, f"{_SOURCE}: positions are added after the class token"),
    }
    for canonical in _candidates(tensors, naming):
        name = naming.of(canonical).format(_QKV[0])
        if canonical.endswith("attn.qkv.weight") and name in tensors and tensors[name].ndim == 3:
            shape = tensors[name].shape
            source = f"shape of {name} {shape}"
            return facts | {"heads": Fact(shape[1], source), "head_dim": Fact(shape[2], source)}
    return facts


def _without_training(
    tensors: Tensors, facts: Mapping[str, Fact], *, naming: _Naming
) -> tuple[Tensors, dict[str, str]]:
    others = [name for name in tensors if name.startswith(PREFIXES[naming.prefix])]
    if not others:
        return tensors, {}
    kept = {name: array for name, array in tensors.items() if name not in others}
    shown = ", ".join(others[:8]) + (f", and {len(others) - 8} more" if len(others) > 8 else "")
    return kept, {"not loaded": f"what belongs to the training: {shown}"}


def _read_config(content: Mapping[str, Any], where: str, shapes: Mapping[str, Fact]) -> ConfigFile | None:
    return None  # the code is configured in Python (vit_jax/configs), no file says it


def _format(naming: _Naming) -> Format:
    return Format(
        name="google",
        convention="google",
        recognises=partial(_recognises, naming=naming),
        to_canonical=partial(_to_canonical, naming=naming),
        from_canonical=partial(_from_canonical, naming=naming),
        read_config=_read_config,
        facts=partial(_facts, naming=naming),
        style=f"{naming.prefix}{'linen' if naming.linen else ''}",
        modernise=partial(_without_training, naming=naming),
        names=naming.all_of,
    )


STYLES = tuple(_format(_Naming(prefix, linen)) for linen in (False, True) for prefix in PREFIXES)
FORMAT = STYLES[0]
