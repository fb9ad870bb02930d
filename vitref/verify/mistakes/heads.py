"""Mistakes of how channels become heads, and heads channels again: their number, their axes, their order."""

from collections.abc import Callable
from dataclasses import replace

from vitref.config import Config
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import ONE_HEAD

HEADS = ("jsbaan/transformer-from-scratch#6", "reczoo/FuxiCTR#30", "Kamichanw/SeekDeeper#9")
FUSED = ("sgl-project/sglang#40127", "vllm-project/vllm#53114")
SPLIT, SPLIT_AXES = "(n, t, 3, heads, width // (3 * heads))", "(2, 0, 3, 1, 4)"
UNSPLIT = "xp.stack([xp.permute_dims(d_part, (0, 2, 1, 3)) for d_part in dy], axis=2)"
NUMBER = "Look at the shape of `attn.softmax`: unless its number of heads is this one, this is not the cause."


def heads_of(number: Callable[[Config], float]) -> Callable[[Config], Config]:
    """Another number of heads over the same channels, where it divides them."""

    def change(config: Config) -> Config:
        heads, inner = number(config), config.heads * config.head_dim
        if heads < 1 or heads != int(heads) or inner % int(heads):
            return config
        return replace(config, heads=int(heads), head_dim=inner // int(heads))

    return change


MISTAKES = (
    Mistake(
        name="heads_and_head_dim_exchanged",
        what="the number of heads and the width of a head are exchanged",
        look="the order of the two numbers in a reshape or in the settings",
        refute=NUMBER,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.q",
        config=heads_of(lambda config: config.head_dim),
    ),
    Mistake(
        name="half_the_heads",
        what="the attention has half as many heads, each twice as wide",
        look="num_heads in the settings: no file of weights tells it",
        refute=NUMBER,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.q",
        config=heads_of(lambda config: config.heads / 2),
    ),
    Mistake(
        name="twice_the_heads",
        what="the attention has twice as many heads, each half as wide",
        look="num_heads in the settings: no file of weights tells it",
        refute=NUMBER,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.q",
        config=heads_of(lambda config: config.heads * 2),
    ),
    Mistake(
        name="one_head",
        what="the attention has a single head over all channels",
        look="num_heads=1, a default, or a reshape to heads that was left out",
        refute=NUMBER,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.q",
        config=heads_of(lambda config: 1),
    ),
    Mistake(
        name="heads_of_64",
        what="the number of heads is guessed as the width over 64",
        look=(
            "dim // 64 in the place of the model's number: wrong for ViT-H (80), So400m (72), g (88 or 104)"
        ),
        refute=NUMBER,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.q",
        config=heads_of(lambda config: config.heads * config.head_dim / 64),
    ),
    Mistake(
        name="heads_split_without_permutation",
        what="qkv is reshaped to heads without the permutation, so that heads mix tokens",
        look="view(n, heads, t, d) of an array (n, t, heads * d), without a transposition",
        refute=(
            "Change one token of the input: if `attn.q` changes for that token alone, this is not the cause."
        ),
        topic="split into heads",
        evidence=HEADS,
        shows="blocks.0.attn.q",
        edits={
            "split_heads": (
                f"{SPLIT} -> (n, heads, 3, t, width // (3 * heads))",
                f"{SPLIT_AXES} -> (2, 0, 1, 3, 4)",
                f"{UNSPLIT} -> xp.stack(dy, axis=2)",
            )
        },
    ),
    Mistake(
        name="heads_merged_without_permutation",
        what="the heads' outputs are reshaped to tokens without the permutation",
        look="view(n, t, heads * d) of an array (n, heads, t, d), without a transposition",
        refute=(
            "Change one token of `attn.context`: if `attn.merge` changes for that token alone, "
            "this is not the cause."
        ),
        topic="split into heads",
        evidence=HEADS,
        shows="blocks.0.attn.merge",
        edits={
            "merge_heads": (
                "xp.permute_dims(x, (0, 2, 1, 3)), (n, t, heads * d) -> x, (n, t, heads * d)",
                "(n, t, saved.heads, width // saved.heads) -> (n, saved.heads, t, width // saved.heads)",
                "Grads(xp.permute_dims(x, (0, 2, 1, 3))) -> Grads(x)",
            )
        },
    ),
    Mistake(
        name="qkv_interleaved_per_head",
        what="qkv is read head by head, each with its q, k, v, instead of as blocks of all q, k and v",
        look="a reshape to (heads, 3, d) where (3, heads, d) is stored",
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=FUSED,
        shows="blocks.0.attn.*",
        edits={
            "split_heads": (
                f"{SPLIT} -> (n, t, heads, 3, width // (3 * heads))",
                f"{SPLIT_AXES} -> (3, 0, 2, 1, 4)",
                "for d_part in dy], axis=2) -> for d_part in dy], axis=3)",
            )
        },
        alike=("qkv_rows_interleaved",),
    ),
    Mistake(
        name="qkv_read_in_groups",
        what=(
            "the fused output is re-sorted from blocks to heads, although it has blocks and they are expected"
        ),
        look="a conversion between (3, heads, d) and (heads, 3, d) that is done once too often",
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.q",
        edits={
            "split_heads": (
                (
                    f"x = xp.reshape(qkv, {SPLIT}) -> x = xp.permute_dims(xp.reshape(qkv, {SPLIT}), (0, 1, "
                    f"3, 2, 4))\n    x = xp.reshape(x, {SPLIT})"
                ),
                (
                    f"x = {UNSPLIT} -> x = xp.reshape({UNSPLIT}, (n, t, heads, 3, d))\n    x = "
                    "xp.permute_dims(x, (0, 1, 3, 2, 4))"
                ),
            )
        },
        alike=("qkv_rows_grouped_by_head",),
    ),
    Mistake(
        name="heads_innermost",
        what="the channels of q, k and v are read as (head_dim, heads) instead of (heads, head_dim)",
        look="a reshape to (d, heads) where (heads, d) is stored: einops' (d h) for (h d)",
        refute=ONE_HEAD,
        topic="split into heads",
        evidence=HEADS,
        shows="blocks.0.attn.q",
        edits={
            "split_heads": (
                f"{SPLIT} -> (n, t, 3, width // (3 * heads), heads)",
                f"{SPLIT_AXES} -> (2, 0, 4, 1, 3)",
                "xp.permute_dims(d_part, (0, 2, 1, 3)) -> xp.permute_dims(d_part, (0, 2, 3, 1))",
            )
        },
        alike=("qkv_rows_heads_innermost",),
    ),
    Mistake(
        name="heads_merged_innermost",
        what="the merged channels are in the order (head_dim, heads) instead of (heads, head_dim)",
        look="einops' (d h) for (h d), or a permutation (0, 2, 3, 1) for (0, 2, 1, 3)",
        refute=ONE_HEAD,
        topic="split into heads",
        evidence=(),
        shows="blocks.0.attn.merge",
        edits={
            "merge_heads": (
                (
                    "xp.permute_dims(x, (0, 2, 1, 3)), (n, t, heads * d) -> xp.permute_dims(x, (0, 2, 3, "
                    "1)), (n, t, heads * d)"
                ),
                "(n, t, saved.heads, width // saved.heads) -> (n, t, width // saved.heads, saved.heads)",
                "Grads(xp.permute_dims(x, (0, 2, 1, 3))) -> Grads(xp.permute_dims(x, (0, 3, 1, 2)))",
            )
        },
        alike=("proj_columns_heads_innermost",),
    ),
    Mistake(
        name="qkv_bias_ignored",
        what="the fused projection is run without its bias, although the model has one",
        look="a flag qkv_bias that is inverted, not passed on, or False by default",
        refute=(
            "Set this bias to zero in the reference too: unless the two then agree, this is not the cause."
        ),
        topic="bias of queries, keys and values",
        evidence=("Project-MONAI/MONAI#5148",),
        shows="blocks.0.attn.qkv",
        edits={"attention": ('absent=() if qkv_bias else ("bias",) -> absent=("bias",)',)},
        needs=("qkv_bias",),
        alike=("qkv_bias_missing", "query_and_value_bias_missing"),
    ),
    Mistake(
        name="attention_projection_missing",
        what="the merged heads leave the attention without the output projection",
        look="an attention module without its last linear layer, or Identity in its place (heads=1)",
        refute=(
            "Compare the candidate's `attn` with the right `attn.merge`: unless they agree, this "
            "is not the cause."
        ),
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.proj",
        edits={"attention": ('y = t.step("proj", linear, y) -> pass', 'dy = t.undo("proj", dy) -> pass')},
    ),
)
