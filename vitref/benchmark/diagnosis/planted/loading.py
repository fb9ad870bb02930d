"""Planted in the loader: layouts, missing tensors, wrong rows, rounded values."""

from collections.abc import Callable
from typing import Any

from vitref.benchmark.diagnosis.bug import Bug
from vitref.benchmark.diagnosis.library import torch
from vitref.config import Config

Tensors = dict[str, Any]
KERNEL = "patch_embed.proj.weight"


def each(suffix: str, function: Callable[..., Any], block: str = "blocks.") -> Callable[..., Tensors]:
    """A loader that fills the tensors with this in their name with `function(tensor)`."""

    def load(tensors: Tensors, config: Config) -> Tensors:
        chosen = {n: t for n, t in tensors.items() if suffix in n and n.startswith(block)}
        return tensors | {name: function(tensor).clone() for name, tensor in chosen.items()}

    return load


def qkv(rows: Callable[..., Any]) -> Callable[..., Tensors]:
    """A loader that orders the rows of the fused projection otherwise: `rows(x)` of (3, heads, d, ...)."""

    def load(tensors: Tensors, config: Config) -> Tensors:
        chosen = {n: t for n, t in tensors.items() if ".attn.qkv." in n}
        parts = {n: t.reshape(3, config.heads, -1, *t.shape[1:]) for n, t in chosen.items()}
        return tensors | {n: rows(x).reshape(chosen[n].shape).clone() for n, x in parts.items()}

    return load


def third_zero(part: int) -> Callable[..., Tensors]:
    """A loader that leaves the bias of q (0), k (1) or v (2) at zero."""

    def zeroed(bias: Any) -> Any:
        keep = torch.ones(3, 1, dtype=bias.dtype)
        keep[part] = 0
        return (bias.reshape(3, -1) * keep).reshape(-1)

    return each(".attn.qkv.bias", zeroed)


def zeros(tensor: Any) -> Any:
    return tensor * 0


def as_hwio(kernel: Any) -> Any:
    """The numbers of (h, w, in, out) in memory, taken for (out, in, h, w)."""
    return kernel.permute(2, 3, 1, 0).reshape(kernel.shape)


def rotated_blocks(tensors: Tensors, config: Config) -> Tensors:
    """Block i with the weights of block i - 1, counting round."""
    parts = {name: name.split(".", 2) for name in tensors if name.startswith("blocks.")}
    return tensors | {
        name: tensors[f"blocks.{(int(i) - 1) % config.depth}.{rest}"] for name, (_, i, rest) in parts.items()
    }


def blocks_by_text(tensors: Tensors, config: Config) -> Tensors:
    order = sorted(range(config.depth), key=str)
    parts = {name: name.split(".", 2) for name in tensors if name.startswith("blocks.")}
    return tensors | {name: tensors[f"blocks.{order[int(i)]}.{rest}"] for name, (_, i, rest) in parts.items()}


def norms_swapped(tensors: Tensors, config: Config) -> Tensors:
    names = {n: n.replace(".norm1.", ".?.").replace(".norm2.", ".norm1.") for n in tensors}
    return {name: tensors[other.replace(".?.", ".norm2.")] for name, other in names.items()}


def norm1_for_both(tensors: Tensors, config: Config) -> Tensors:
    return {name: tensors[name.replace(".norm2.", ".norm1.")] for name in tensors}


def eight_bits(weight: Any) -> Any:
    """To 255 levels between minus and plus the largest magnitude, as quantisation per tensor does."""
    step = weight.abs().max() / 127
    return (weight / step).round() * step


def row_shifted(weight: Any) -> Any:
    """Rows 5 to 9 one place down, and the last of them in front."""
    return torch.cat([weight[:5], weight[5:10].roll(1, 0), weight[10:]])


def bug(name: str, what: str, first: str, **rest: Any) -> Bug:
    return Bug(name=name, what=what, first=first, **rest)


PROJ, QKV, NORM1 = "patch_embed.proj", "blocks.0.attn.qkv", "blocks.0.norm1"

BUGS = (
    bug(
        "kernel_of_flax",
        "copies a patch kernel (h, w, in, out) without permuting",
        PROJ,
        weights=each(KERNEL, as_hwio, ""),
    ),
    bug(
        "kernel_rows_before_channels",
        "reads a patch kernel whose pixels lie (h, w, channel)",
        PROJ,
        weights=each(KERNEL, lambda k: k.permute(0, 2, 3, 1).reshape(k.shape), ""),
    ),
    bug(
        "kernel_turned",
        "reads a patch kernel with rows and columns exchanged",
        PROJ,
        needs=lambda c: c.patch_size[0] == c.patch_size[1],
        weights=each(KERNEL, lambda k: k.mT, ""),
    ),
    bug(
        "kernel_of_opencv",
        "keeps a patch kernel that was trained on blue, green, red",
        PROJ,
        weights=each(KERNEL, lambda k: k.flip(1), ""),
    ),
    bug(
        "patch_bias_dropped",
        "takes the patch projection to have no bias",
        PROJ,
        weights=each("patch_embed.proj.bias", zeros, ""),
    ),
    bug(
        "rows_by_head",
        "reads the fused projection head after head, each with its q, k and v",
        QKV,
        weights=qkv(lambda x: x.transpose(0, 1)),
    ),
    bug(
        "rows_heads_last",
        "reads the fused projection with the head as its last index",
        QKV,
        weights=qkv(lambda x: x.reshape(3, x.shape[2], x.shape[1], *x.shape[3:]).transpose(1, 2)),
    ),
    bug(
        "rows_reversed_in_heads",
        "reads the rows of every head from the last to the first in q alone",
        QKV,
        weights=qkv(lambda x: torch.cat([x[:1].flip(2), x[1:]])),
    ),
    bug(
        "rows_q_v_exchanged",
        "reads the fused projection as v, k, q",
        QKV,
        weights=qkv(lambda x: x[[2, 1, 0]]),
    ),
    bug(
        "rows_k_v_exchanged",
        "reads the fused projection as q, v, k",
        QKV,
        weights=qkv(lambda x: x[[0, 2, 1]]),
    ),
    bug("rows_k_v_q", "reads the fused projection as k, v, q", QKV, weights=qkv(lambda x: x[[1, 2, 0]])),
    bug(
        "projection_without_bias",
        "takes the fused projection to have no bias",
        QKV,
        weights=each(".attn.qkv.bias", zeros),
    ),
    bug("query_bias_dropped", "leaves the bias of the queries at zero", QKV, weights=third_zero(0)),
    bug(
        "key_bias_dropped",
        "leaves the bias of the keys at zero",
        QKV,
        hidden=("blocks", "logits", "gradients"),
        because="it adds the same number to every score of a query, which the softmax removes",
        weights=third_zero(1),
    ),
    bug("value_bias_dropped", "leaves the bias of the values at zero", QKV, weights=third_zero(2)),
    bug(
        "attention_bias_dropped",
        "leaves the bias of the output projection at zero",
        "blocks.0.attn.proj",
        weights=each(".attn.proj.bias", zeros),
    ),
    bug(
        "hidden_bias_dropped_in_one",
        "leaves the bias of the MLP's first layer at zero in block 1",
        "blocks.1.mlp.fc1",
        weights=each(".mlp.fc1.bias", zeros, "blocks.1."),
    ),
    bug(
        "mlp_bias_dropped",
        "leaves the bias of the MLP's second layer at zero",
        "blocks.0.mlp.fc2",
        weights=each(".mlp.fc2.bias", zeros),
    ),
    bug(
        "head_bias_dropped",
        "leaves the bias of the head at zero",
        "head",
        weights=each("head.bias", zeros, ""),
    ),
    bug(
        "projection_untransposed",
        "does not transpose the square weight of the output projection",
        "blocks.0.attn.proj",
        weights=each(".attn.proj.weight", lambda w: w.mT),
    ),
    bug(
        "projection_untransposed_in_one",
        "does not transpose the output projection of block 1",
        "blocks.1.attn.proj",
        weights=each(".attn.proj.weight", lambda w: w.mT, "blocks.1."),
    ),
    bug("norms_mixed_up", "loads norm1 as norm2 and norm2 as norm1", NORM1, weights=norms_swapped),
    bug("norm1_for_both", "uses norm1 in the place of norm2, too", "blocks.0.norm2", weights=norm1_for_both),
    bug(
        "norm_shift_dropped",
        "leaves the bias of every LayerNorm at zero",
        NORM1,
        weights=lambda t, c: t | {n: zeros(x) for n, x in t.items() if "norm" in n and n.endswith("bias")},
    ),
    bug(
        "block_order_rotated",
        "gives every block the weights of the one before",
        NORM1,
        weights=rotated_blocks,
    ),
    bug(
        "block_order_of_text",
        "orders blocks by name: 0, 1, 10, 11, 2",
        "blocks.2.norm1",
        model="deep",
        needs=lambda c: c.depth > 10,
        weights=blocks_by_text,
    ),
    bug(
        "weights_of_8_bits",
        "stores the output projections in 8 bits",
        "blocks.0.attn.proj",
        weights=each(".attn.proj.weight", eight_bits),
        is_precision=True,
    ),
    bug(
        "weights_of_half_precision",
        "stores all weights in float16",
        PROJ,
        weights=lambda t, c: {n: x.half().to(x.dtype) for n, x in t.items()},
        is_precision=True,
    ),
    bug(
        "weights_of_bfloat16",
        "stores all weights in bfloat16",
        PROJ,
        weights=lambda t, c: {n: x.bfloat16().to(x.dtype) for n, x in t.items()},
        is_precision=True,
    ),
    bug("head_zero", "leaves the head at zero", "head", weights=each("head.", zeros, "head.")),
    bug(
        "head_rows_off_by_one",
        "has the classes of the head one place late",
        "head",
        weights=lambda t, c: each("head.bias", lambda b: b.roll(1, 0), "")(
            each("head.weight", lambda w: w.roll(1, 0), "")(t, c), c
        ),
    ),
    bug(
        "one_weight_noisy",
        "has one weight of block 1 disturbed by a hundredth",
        "blocks.1.mlp.fc1",
        weights=each(
            ".mlp.fc1.weight",
            lambda w: (
                w * (1 + 0.01 * torch.sin(torch.arange(w.numel(), dtype=w.dtype).reshape(w.shape) ** 2))
            ),
            "blocks.1.",
        ),
    ),
    bug(
        "rows_of_a_parameter",
        "has five rows of the MLP's first layer in the wrong place in block 0",
        "blocks.0.mlp.fc1",
        weights=each(".mlp.fc1.weight", row_shifted, "blocks.0."),
    ),
    bug(
        "class_token_untrained",
        "leaves the class token at zero",
        "cls_token",
        weights=each("cls_token", zeros, ""),
    ),
    bug("positions_missing", "adds no positions", "pos_embed", weights=each("pos_embed", zeros, "")),
    bug(
        "positions_weakened",
        "scales the position table by 0.9",
        "pos_embed",
        weights=each("pos_embed", lambda t: 0.9 * t, ""),
    ),
    bug(
        "gamma_dropped",
        "drops LayerScale",
        "blocks.0.ls1",
        model="mean",
        needs=lambda c: c.layer_scale,
        weights=each(".gamma", lambda t: t * 0 + 1),
    ),
    bug(
        "gamma_squared",
        "multiplies by LayerScale's square",
        "blocks.0.ls1",
        model="mean",
        needs=lambda c: c.layer_scale,
        weights=each(".gamma", lambda t: t * t),
    ),
    bug(
        "gamma_root",
        "multiplies by the square root of LayerScale's magnitude",
        "blocks.0.ls1",
        model="mean",
        needs=lambda c: c.layer_scale,
        weights=each(".gamma", lambda t: t.abs().sqrt()),
    ),
)
