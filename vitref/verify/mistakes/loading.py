"""Mistakes of loaders that mix tensors up, or lose digits."""

import ml_dtypes
import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.verify.mistakes.changes import Loader, blocks_from, each, renamed
from vitref.verify.mistakes.mistake import Mistake, Tensors
from vitref.verify.mistakes.refutations import EQUAL_BLOCKS, EQUAL_FACTORS, EQUAL_NORMS


def norms_exchanged(tensors: Tensors, config: Config) -> Tensors:
    return renamed("norm1", "norm2")(tensors, config) | renamed("norm2", "norm1")(tensors, config)


def scales_exchanged(tensors: Tensors, config: Config) -> Tensors:
    return renamed("ls1", "ls2")(tensors, config) | renamed("ls2", "ls1")(tensors, config)


def as_text(i: int, depth: int) -> int:
    return int(sorted(map(str, range(depth)))[i])


def classes_as_text(tensors: Tensors, config: Config) -> Tensors:
    order = [int(name) for name in sorted(map(str, range(config.classes)))]
    return {name: tensors[name][order] for name in ("head.weight", "head.bias") if name in tensors}


def through(dtype: type) -> Loader:
    """Every tensor, rounded to this format."""
    return each("", lambda array, config: array.astype(dtype).astype(array.dtype))


def in_eight_bits(array: HostArray, config: Config) -> HostArray:
    """Each row of a matrix in 255 steps of its largest element, as quantised files store it."""
    if array.ndim < 2 or array.shape[0] == 1:
        return array
    step = np.max(np.abs(array.reshape(len(array), -1)), axis=1).reshape(-1, *(1,) * (array.ndim - 1)) / 127
    return np.asarray(np.round(array / np.where(step > 0, step, 1)) * step)


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
        name="norms_exchanged",
        what="the two LayerNorms of each block are exchanged",
        look="norm1 and norm2 (ln_1, layernorm_before, LayerNorm_0 and LayerNorm_2) in the table of names",
        refute=EQUAL_NORMS,
        topic="LayerNorms mixed up",
        evidence=("sdc17/CrossGET#2",),
        shows="blocks.0.norm1",
        tensors=norms_exchanged,
    ),
    Mistake(
        name="norm1_for_both",
        what="the LayerNorm before the MLP has the parameters of the one before the attention",
        look=(
            "one LayerNorm object used in two places of the block, or a name that is matched by its beginning"
        ),
        refute=EQUAL_NORMS,
        topic="LayerNorms mixed up",
        evidence=(),
        shows="blocks.0.norm2",
        tensors=renamed("norm2", "norm1"),
    ),
    Mistake(
        name="norm2_for_both",
        what="the LayerNorm before the attention has the parameters of the one before the MLP",
        look="one LayerNorm object used in two places of the block, filled last by norm2",
        refute=EQUAL_NORMS,
        topic="LayerNorms mixed up",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=renamed("norm1", "norm2"),
    ),
    Mistake(
        name="blocks_sorted_as_text",
        what="the blocks are in the order of their names, 0, 1, 10, 2, instead of their numbers",
        look="sorted(names) without a natural order, in a model with more than ten blocks",
        refute=EQUAL_BLOCKS,
        evidence=(),
        shows="blocks.2.norm1",
        tensors=blocks_from(as_text),
    ),
    Mistake(
        name="blocks_reversed",
        what="the blocks are run from the last to the first",
        look="a loop in reverse, or a stack that is popped",
        refute=EQUAL_BLOCKS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=blocks_from(lambda i, depth: depth - 1 - i),
    ),
    Mistake(
        name="blocks_one_late",
        what="every block has the weights of the block before it, and the first those of the last",
        look=(
            "blocks that are counted from 1 in one place and from 0 in another, with a wrap-around (index -1)"
        ),
        refute=EQUAL_BLOCKS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=blocks_from(lambda i, depth: (i - 1) % depth),
    ),
    Mistake(
        name="blocks_one_early",
        what="every block has the weights of the block after it, and the last its own",
        look="blocks that are counted from 1 in one place and from 0 in another",
        refute=EQUAL_BLOCKS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=blocks_from(lambda i, depth: min(i + 1, depth - 1)),
    ),
    Mistake(
        name="blocks_all_first",
        what="every block has the weights of the first one",
        look="one block object repeated ([block] * depth), or a name whose number is not replaced",
        refute=EQUAL_BLOCKS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.1.norm1",
        tensors=blocks_from(lambda i, depth: 0),
    ),
    Mistake(
        name="blocks_all_last",
        what="every block has the weights of the last one",
        look="a closure or an object that all blocks share and that the loader filled last",
        refute=EQUAL_BLOCKS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=blocks_from(lambda i, depth: depth - 1),
    ),
    Mistake(
        name="layer_scales_exchanged",
        what="LayerScale's factors of the attention and of the MLP are exchanged",
        look="ls1 and ls2 (lambda_1 and lambda_2, gamma_1 and gamma_2) in the table of names",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        tensors=scales_exchanged,
        needs=("layer_scale",),
    ),
    Mistake(
        name="layer_scale_folded",
        what="LayerScale is multiplied into the weights before it: outputs stay, gradients do not",
        look="a conversion that removes LayerScale for speed",
        refute="Compare the outputs: an error there, beyond rounding, has another cause.",
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=scale_folded,
        needs=("layer_scale",),
    ),
    Mistake(
        name="head_rows_shifted",
        what="the classes are moved by one: row 0 of the head is that of the last class",
        look="a background class in front, or labels that are counted from 1",
        refute="Move the logits by one place: unless they then agree, this is not the cause.",
        topic="head",
        evidence=(),
        shows="head",
        tensors=each(("head.weight", "head.bias"), lambda a, c: np.concat([a[-1:], a[:-1]])),
        needs=("classes",),
    ),
    Mistake(
        name="head_rows_reversed",
        what="the classes are in reverse order",
        look="an order of labels that was sorted downwards",
        refute="Reverse the logits: unless they then agree, this is not the cause.",
        topic="head",
        evidence=(),
        shows="head",
        tensors=each(("head.weight", "head.bias"), lambda a, c: a[::-1].copy()),
        needs=("classes",),
    ),
    Mistake(
        name="head_rows_as_text",
        what="the classes are in the order of their numbers as text: 0, 1, 10, 100, 101",
        look="folders or keys of classes sorted as text",
        refute=(
            "Sort the logits of an image in both programs: if the sorted values differ, the order "
            "is not the cause."
        ),
        topic="head",
        evidence=(),
        shows="head",
        tensors=classes_as_text,
        needs=("classes",),
    ),
    Mistake(
        name="weights_in_bfloat16",
        what="the weights went through bfloat16",
        look="a file of 16-bit weights, or a conversion to bfloat16 on the way to float32",
        refute=(
            "Look at the last 16 bits of the weights: one element in which they are not zero refutes it."
        ),
        topic="precision",
        evidence=(),
        shows="patch_embed.proj",
        tensors=through(ml_dtypes.bfloat16),
    ),
    Mistake(
        name="weights_in_float16",
        what="the weights went through float16",
        look="a file of 16-bit weights, or half() on the way to float32",
        refute=(
            "Look at the last 13 bits of the weights: one ordinary element in which they are not "
            "zero refutes it."
        ),
        topic="precision",
        evidence=(),
        shows="*",
        tensors=through(np.float16),
    ),
    Mistake(
        name="weights_in_int8",
        what="the matrices went through 8 bits, in 255 steps of the largest element of each row",
        look="a quantised file (int8, q8_0, bitsandbytes) where the reference has the full weights",
        refute="Count the different values in a row of a matrix: more than 255 refute it.",
        topic="precision",
        evidence=(),
        shows="patch_embed.proj",
        tensors=each("", in_eight_bits),
    ),
)
