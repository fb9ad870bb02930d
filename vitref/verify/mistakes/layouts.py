"""Mistakes of loaders that fill a tensor in another layout: axes permuted, rows in another order.

Each has a twin where a right tensor is viewed wrongly (`patches`, `heads`): the flagged tap differs.
"""

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.verify.mistakes.changes import each, ordered, rows
from vitref.verify.mistakes.mistake import Mistake, Tensors
from vitref.verify.mistakes.refutations import ONE_HEAD, ONE_VALUE

FUSED = ("sgl-project/sglang#40127", "vllm-project/vllm#53114")
FLATTEN = ("lablup/mlxcel#1610", "lucidrains/vit-pytorch#352")

THIRDS = (
    "Give queries, keys and values the same weights: their order cannot show, so an error "
    "that remains has another cause."
)
TRANSPOSED = "Put the transposed weights into the reference: unless it then agrees, this is not the cause."


def interleaved(array: HostArray, config: Config) -> HostArray:
    by_head = array.reshape(config.heads, 3, config.head_dim, -1).swapaxes(0, 1)
    return by_head.reshape(array.shape)


def grouped(array: HostArray, config: Config) -> HostArray:
    by_head = array.reshape(3, config.heads, config.head_dim, -1).swapaxes(0, 1)
    return by_head.reshape(array.shape)


def heads_inside(array: HostArray, config: Config) -> HostArray:
    inside = array.reshape(3, config.head_dim, config.heads, -1).swapaxes(1, 2)
    return inside.reshape(array.shape)


def columns_heads_inside(array: HostArray, config: Config) -> HostArray:
    inside = array.reshape(-1, config.head_dim, config.heads).swapaxes(1, 2)
    return inside.reshape(array.shape)


def square_transposed(tensors: Tensors, config: Config) -> Tensors:
    return {name: a.T for name, a in tensors.items() if a.ndim == 2 and a.shape[0] == a.shape[1]}


def parts_transposed(array: HostArray, config: Config) -> HostArray:
    """Each of the three blocks of a fused projection, where they are square."""
    blocks = np.split(array, 3)
    return np.concat([block.T for block in blocks]) if blocks[0].shape[0] == array.shape[1] else array


def as_stored(array: HostArray, config: Config) -> HostArray:
    """(out, in) filled in the order of a file that has (in, out)."""
    return array.T.reshape(array.shape)


def pixels_last(array: HostArray, config: Config) -> HostArray:
    """The row of an output, read as (row, column, channel)."""
    d, c, h, w = array.shape
    return array.reshape(d, h, w, c).transpose(0, 3, 1, 2)


def swapped_in_patch(array: HostArray, config: Config) -> HostArray:
    """The row of an output, read as (channel, column, row)."""
    d, c, h, w = array.shape
    return array.reshape(d, c, w, h).swapaxes(2, 3)


MISTAKES = (
    Mistake(
        name="kernel_hwio",
        what="a patch kernel stored as (h, w, C, D) is filled into (D, C, h, w) without a transposition",
        look="a kernel of Flax or TensorFlow, (h, w, C, D), that is reshaped instead of transposed",
        refute=(
            "Feed black pixels (zeros): `patch_embed.proj` is then the bias alone, so an error "
            "that remains has another cause."
        ),
        topic="layout of the patch kernel",
        evidence=("helper2424/resnet10#2",),
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a.transpose(2, 3, 1, 0).reshape(a.shape)),
    ),
    Mistake(
        name="kernel_channels_last",
        what="a patch weight whose rows are (row, column, channel) is viewed as (channel, row, column)",
        look="a linear layer over patches (p1 p2 c) whose weight is viewed as a convolution (c, p1, p2)",
        refute=ONE_VALUE,
        topic="order of a patch's pixels",
        evidence=FLATTEN,
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a.transpose(0, 2, 3, 1).reshape(a.shape)),
        alike=("pixels_viewed_channels_first",),
    ),
    Mistake(
        name="kernel_channels_first",
        what="a patch weight whose rows are (channel, row, column) is read as (row, column, channel)",
        look="a convolution's kernel reshaped to a linear layer over patches in the order (p1 p2 c)",
        refute=ONE_VALUE,
        topic="order of a patch's pixels",
        evidence=FLATTEN,
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", pixels_last),
        alike=("pixels_channels_last",),
    ),
    Mistake(
        name="kernel_transposed",
        what="rows and columns of the patch kernel are swapped",
        look=(
            "a kernel stored as (D, C, w, h), or a permutation (3, 2, 1, 0) of (h, w, C, D) for (3, 2, 0, 1)"
        ),
        refute=ONE_VALUE,
        topic="layout of the patch kernel",
        evidence=(),
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", swapped_in_patch),
        alike=("patches_transposed",),
    ),
    Mistake(
        name="kernel_flipped",
        what="the patch kernel is turned by 180 degrees, as a true convolution does it",
        look=(
            "scipy.signal.convolve, or a library whose convolution flips the kernel where torch's correlates"
        ),
        refute=ONE_VALUE,
        topic="layout of the patch kernel",
        evidence=(),
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a[:, :, ::-1, ::-1].copy()),
        alike=("pixels_backwards",),
    ),
    Mistake(
        name="kernel_bgr",
        what="the patch kernel has its channels in the order blue, green, red",
        look="a conversion that reverses the kernel's channels so that BGR pictures can be fed",
        refute=(
            "Feed an array whose channels are equal: an error of `patch_embed.proj` that remains "
            "has another cause."
        ),
        topic="colour channels",
        evidence=(),
        shows="patch_embed.proj",
        tensors=each("patch_embed.proj.weight", lambda a, c: a[:, ::-1].copy()),
        alike=("channels_reversed",),
    ),
    Mistake(
        name="qkv_rows_interleaved",
        what=(
            "the rows of the fused projection are read head by head, as some training frameworks store them"
        ),
        look=(
            "a fused weight of Megatron-like files, (heads, 3, head_dim), filled into (3, heads, head_dim)"
        ),
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.qkv",
        tensors=lambda tensors, config: {
            **each("qkv.weight", interleaved)(tensors, config),
            **each("qkv.bias", interleaved)(tensors, config),
        },
        alike=("qkv_interleaved_per_head",),
    ),
    Mistake(
        name="qkv_rows_grouped_by_head",
        what=(
            "the rows of the fused projection are put in groups of q, k, v per head, where blocks "
            "are expected"
        ),
        look="a conversion to (heads, 3, head_dim) for a model that reads (3, heads, head_dim)",
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.qkv",
        tensors=rows(grouped),
        alike=("qkv_read_in_groups",),
    ),
    Mistake(
        name="qkv_rows_heads_innermost",
        what="rows (heads, head_dim) of the fused projection are filled in as (head_dim, heads)",
        look=(
            "a weight (D, heads, head_dim) of Flax whose last two axes were swapped before they were joined"
        ),
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.qkv",
        tensors=rows(heads_inside),
        alike=("heads_innermost",),
    ),
    Mistake(
        name="proj_columns_heads_innermost",
        what="columns (heads, head_dim) of the output projection are filled in as (head_dim, heads)",
        look=(
            "a weight (heads, head_dim, D) of Flax whose first two axes were swapped before they were joined"
        ),
        refute=ONE_HEAD,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=each("attn.proj.weight", columns_heads_inside),
        alike=("heads_merged_innermost",),
    ),
    Mistake(
        name="keys_and_values_exchanged",
        what="the fused projection is filled in the order q, v, k",
        look="the order in which three projections are joined to one",
        refute=THIRDS,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=rows(ordered(0, 2, 1)),
        alike=("keys_and_values_swapped",),
    ),
    Mistake(
        name="queries_and_keys_exchanged",
        what="the fused projection is filled in the order k, q, v",
        look="the order in which three projections are joined to one; alphabetical order gives k, q, v",
        refute=THIRDS,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=rows(ordered(1, 0, 2)),
        alike=("queries_and_keys_swapped",),
    ),
    Mistake(
        name="queries_and_values_exchanged",
        what="the fused projection is filled in the order v, k, q",
        look="the order in which three projections are joined to one",
        refute=THIRDS,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=rows(ordered(2, 1, 0)),
        alike=("queries_and_values_swapped",),
    ),
    Mistake(
        name="qkv_filled_kvq",
        what="the fused projection is filled in the order k, v, q",
        look="the order in which three projections are joined to one, such as a fused kv with q behind it",
        refute=THIRDS,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=rows(ordered(1, 2, 0)),
        alike=("qkv_read_kvq",),
    ),
    Mistake(
        name="qkv_filled_vqk",
        what="the fused projection is filled in the order v, q, k",
        look="the order in which three projections are joined to one",
        refute=THIRDS,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=rows(ordered(2, 0, 1)),
        alike=("qkv_read_vqk",),
    ),
    Mistake(
        name="qkv_bias_interleaved",
        what="the bias of the fused projection is read head by head, the weight as it should be",
        look="a conversion of layouts that is applied to weights and forgotten for biases, or the reverse",
        refute="Set this bias to zero in both programs: an error that remains has another cause.",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", interleaved),
        needs=("qkv_bias",),
    ),
    Mistake(
        name="square_weights_transposed",
        what="square weights are not transposed, where nothing in their shape asks for it",
        look="a transposition that is decided by comparing shapes, or forgotten where no shape asks for it",
        refute=TRANSPOSED,
        topic="names of tensors",
        evidence=("mindspore-lab/mindone#399",),
        shows="blocks.0.*",
        tensors=square_transposed,
    ),
    Mistake(
        name="qkv_parts_transposed",
        what="the square weights of queries, keys and values are not transposed",
        look="kernels (in, out) of Flax or TensorFlow joined to (3 D, D) without a transposition",
        refute=TRANSPOSED,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.weight", parts_transposed),
    ),
    Mistake(
        name="proj_transposed",
        what="the square weight behind the merged heads is not transposed",
        look="a kernel (in, out) of Flax or TensorFlow, or OpenAI's x @ proj, taken for (out, in)",
        refute=TRANSPOSED,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=each("attn.proj.weight", lambda a, c: a.T if a.shape[0] == a.shape[1] else a),
    ),
    Mistake(
        name="mlp_weights_reshaped",
        what="weights (in, out) of the MLP are reshaped to (out, in) instead of transposed",
        look="a reshape where the shapes do not fit, or a flat file read in the other order",
        refute=TRANSPOSED,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.mlp.fc1",
        tensors=each(("fc1.weight", "fc2.weight"), as_stored),
    ),
    Mistake(
        name="weights_reshaped",
        what="all weights (in, out) of linear layers are reshaped to (out, in) instead of transposed",
        look="a flat file of column-major matrices that is read row by row, or the reverse",
        refute=TRANSPOSED,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each(
            (".qkv.weight", "attn.proj.weight", "fc1.weight", "fc2.weight", "head.weight"), as_stored
        ),
    ),
    Mistake(
        name="head_reshaped",
        what="the weight (in, classes) of the head is reshaped to (classes, in) instead of transposed",
        look="a classifier's kernel of Flax or TensorFlow that is reshaped where the shapes do not fit",
        refute=TRANSPOSED,
        topic="head",
        evidence=(),
        shows="head",
        tensors=each("head.weight", as_stored),
        needs=("classes",),
    ),
)
