"""Mistakes of loaders: layouts, missing tensors, names mixed up, digits lost."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake, Tensors
from vitref.weights import init

FUSED = ("sgl-project/sglang#40127", "vllm-project/vllm#53114")
FLATTEN = ("lablup/mlxcel#1610", "lucidrains/vit-pytorch#352")
SILENT = ("pytorch/pytorch#141256", "huggingface/transformers#41693", "huggingface/transformers#46266")

Change = Callable[[HostArray, Config], HostArray]


def each(end: str, change: Change) -> Callable[[Tensors, Config], Tensors]:
    """Every tensor whose name ends so, changed."""
    return lambda tensors, config: {
        name: change(array, config) for name, array in tensors.items() if name.endswith(end)
    }


def zeros(end: str) -> Callable[[Tensors, Config], Tensors]:
    return each(end, lambda array, config: np.zeros_like(array))


def exchanged(*parts: int) -> Change:
    """The three blocks of a fused projection in another order."""
    return lambda array, config: np.concat([np.split(array, 3)[part] for part in parts])


def interleaved(array: HostArray, config: Config) -> HostArray:
    rows = array.reshape(config.heads, 3, config.head_dim, -1).swapaxes(0, 1)
    return rows.reshape(array.shape)


def heads_inside(array: HostArray, config: Config) -> HostArray:
    rows = array.reshape(3, config.head_dim, config.heads, -1).swapaxes(1, 2)
    return rows.reshape(array.shape)


def square_transposed(tensors: Tensors, config: Config) -> Tensors:
    return {name: a.T for name, a in tensors.items() if a.ndim == 2 and a.shape[0] == a.shape[1]}


def zero_key_bias(array: HostArray, config: Config) -> HostArray:
    q, k, v = np.split(array, 3)
    return np.concat([q, np.zeros_like(k), v])


def norms_at_start(tensors: Tensors, config: Config) -> Tensors:
    fresh = init(config, 0, dtype="float64")
    return {name: fresh[name] for name in tensors if "norm" in name}


def untrained(tensors: Tensors, config: Config) -> Tensors:
    fresh = init(config, 0, dtype="float64")
    return {name: fresh[name] for name in tensors if ".attn." in name}


def norms_exchanged(tensors: Tensors, config: Config) -> Tensors:
    other = {"norm1": "norm2", "norm2": "norm1"}
    names = {name: name.split(".")[2] for name in tensors if name.startswith("blocks.")}
    return {n: tensors[n.replace(part, other[part])] for n, part in names.items() if part in other}


def blocks_as_text(tensors: Tensors, config: Config) -> Tensors:
    numbers = sorted(map(str, range(config.depth)))
    return {
        name: tensors[name.replace(f"blocks.{i}.", f"blocks.{numbers[i]}.", 1)]
        for i in range(config.depth)
        for name in tensors
        if name.startswith(f"blocks.{i}.")
    }


def in_bfloat16(tensors: Tensors, config: Config) -> Tensors:
    return {name: array.astype(ml_dtypes.bfloat16).astype(array.dtype) for name, array in tensors.items()}


def scale_folded(tensors: Tensors, config: Config) -> Tensors:
    changed: Tensors = {}
    for i in range(config.depth if config.layer_scale else 0):
        for scale, layer in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma, at = tensors[f"blocks.{i}.{scale}.gamma"], f"blocks.{i}.{layer}"
            changed[f"{at}.weight"] = gamma[:, None] * tensors[f"{at}.weight"]
            changed[f"{at}.bias"] = gamma * tensors[f"{at}.bias"]
            changed[f"blocks.{i}.{scale}.gamma"] = np.ones_like(gamma)
    return changed


MISTAKES = (
    Mistake(
        name="kernel_hwio",
        what="a patch kernel stored as (h, w, C, D) is filled into (D, C, h, w) without a transposition",
        topic="layout of the patch kernel",
        evidence=("helper2424/resnet10#2",),
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a.transpose(2, 3, 1, 0).reshape(a.shape)),
    ),
    Mistake(
        name="kernel_channels_last",
        what="a patch weight whose rows are (row, column, channel) is viewed as (channel, row, column)",
        topic="order of a patch's pixels",
        evidence=FLATTEN,
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a.transpose(0, 2, 3, 1).reshape(a.shape)),
    ),
    Mistake(
        name="patch_bias_missing",
        what="the bias of the patch projection is dropped",
        topic="layout of the patch kernel",
        evidence=(),
        shows="patch_embed.proj",
        tensors=zeros("patch_embed.proj.bias"),
    ),
    Mistake(
        name="qkv_rows_interleaved",
        what="the rows of the fused projection are read head by head, as some training frameworks store them",
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.qkv",
        tensors=lambda tensors, config: {
            **each("qkv.weight", interleaved)(tensors, config),
            **each("qkv.bias", interleaved)(tensors, config),
        },
    ),
    Mistake(
        name="qkv_rows_heads_innermost",
        what="rows (heads, head_dim) of the fused projection are filled in as (head_dim, heads)",
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.weight", heads_inside),
    ),
    Mistake(
        name="keys_and_values_exchanged",
        what="the fused projection is filled in the order q, v, k",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=lambda tensors, config: {
            **each("qkv.weight", exchanged(0, 2, 1))(tensors, config),
            **each("qkv.bias", exchanged(0, 2, 1))(tensors, config),
        },
    ),
    Mistake(
        name="qkv_bias_missing",
        what="the bias of the fused projection is dropped",
        topic="bias of queries, keys and values",
        evidence=("Project-MONAI/MONAI#5148", "baaivision/EVA#59", "microsoft/unilm#510"),
        shows="blocks.0.attn.qkv",
        tensors=zeros("qkv.bias"),
    ),
    Mistake(
        name="key_bias_missing",
        what="the bias of the keys is dropped",
        topic="bias of queries, keys and values",
        evidence=("facebookresearch/dinov3#195", "ricklisz/MedDINOv3#10"),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", zero_key_bias),
        equivalent="A bias b of the keys adds q_i b to every score of query i, and softmax does not see"
        " what a whole row has in common. Its own gradient is sum_i q_i sum_j ds_ij, and dq_i gains"
        " b sum_j ds_ij: both are 0, since the gradient of softmax sums to 0 over the keys.",
    ),
    Mistake(
        name="square_weights_transposed",
        what="square weights are not transposed, where nothing in their shape asks for it",
        topic="names of tensors",
        evidence=("mindspore-lab/mindone#399",),
        shows="blocks.0.*",
        tensors=square_transposed,
    ),
    Mistake(
        name="norms_left_untrained",
        what="the LayerNorms keep weight 1 and bias 0, because their names in the file were not known",
        topic="names of tensors",
        evidence=SILENT,
        shows="blocks.0.norm1",
        tensors=norms_at_start,
    ),
    Mistake(
        name="attention_left_untrained",
        what="the attention keeps its random start, because its names in the file were not known",
        topic="names of tensors",
        evidence=(*SILENT, "mlfoundations/open_clip#915"),
        shows="blocks.0.attn.qkv",
        tensors=untrained,
    ),
    Mistake(
        name="norms_exchanged",
        what="the two LayerNorms of each block are exchanged",
        topic="LayerNorms mixed up",
        evidence=("sdc17/CrossGET#2",),
        shows="blocks.0.norm1",
        tensors=norms_exchanged,
    ),
    Mistake(
        name="blocks_sorted_as_text",
        what="the blocks are in the order of their names, 0, 1, 10, 2, instead of their numbers",
        evidence=(),
        shows="blocks.2.norm1",
        tensors=blocks_as_text,
    ),
    Mistake(
        name="layer_scale_dropped",
        what="LayerScale's factors are not in the loaded model, which takes 1",
        topic="LayerScale",
        evidence=("riccardomusmeci/mlx-image#26", "davidtag/llm#10"),
        shows="blocks.0.ls1",
        tensors=each(".gamma", lambda array, config: np.ones_like(array)),
    ),
    Mistake(
        name="layer_scale_folded",
        what="LayerScale is multiplied into the weights before it: outputs stay, gradients do not",
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=scale_folded,
    ),
    Mistake(
        name="weights_in_bfloat16",
        what="the weights went through bfloat16",
        topic="precision",
        evidence=(),
        shows="patch_embed.proj",
        tensors=in_bfloat16,
    ),
)
