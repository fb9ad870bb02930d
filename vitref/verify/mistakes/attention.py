"""Mistakes of attention: its scale, its softmax, its heads, its axes, and their gradients."""

from vitref.verify.mistakes.mistake import Mistake

HEADS = ("jsbaan/transformer-from-scratch#6", "reczoo/FuxiCTR#30", "Kamichanw/SeekDeeper#9")
FUSED = ("sgl-project/sglang#40127", "vllm-project/vllm#53114")
SILENT = ("huggingface/candle#3613", "paiml/aprender#2196")

WIDTH = "width: int = q.shape[-1]"
POWER = "float(width**-0.5)"
EXP = "e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))"
OVER_SUM = "y = e / xp.sum(e, axis=-1, keepdims=True)"
SOFTMAX_DX = "Grads(y * (dy - xp.sum(y * dy, axis=-1, keepdims=True)))"
SPLIT, SPLIT_AXES = "(n, t, 3, heads, width // (3 * heads))", "(2, 0, 3, 1, 4)"
UNSPLIT = "xp.stack([xp.permute_dims(d_part, (0, 2, 1, 3)) for d_part in dy], axis=2)"


def softmax_over(axes: str) -> dict[str, tuple[str, ...]]:
    """A right pair for other axes."""
    return {
        "softmax": (
            f"{EXP} -> axes = {axes}\n    e = xp.exp(x - xp.max(x, axis=axes, keepdims=True))",
            f"{OVER_SUM} -> y = e / xp.sum(e, axis=axes, keepdims=True)",
            f"return {SOFTMAX_DX} -> axes = {axes.replace('x.', 'y.')}\n"
            "    return Grads(y * (dy - xp.sum(y * dy, axis=axes, keepdims=True)))",
        )
    }


MISTAKES = (
    Mistake(
        name="scale_of_width",
        what="the scores are scaled by (heads * head_dim)^-1/2 instead of head_dim^-1/2",
        topic="attention scale",
        evidence=(
            "lucidrains/vit-pytorch#65",
            "omihub777/ViT-CIFAR#12",
            "FrancescoSaverioZuppichini/ViT#1",
        ),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{WIDTH} -> {WIDTH} * (q.shape[-3] if q.ndim > 2 else 1)",)},
    ),
    Mistake(
        name="scale_of_heads",
        what="the scores are scaled by heads^-1/2 instead of head_dim^-1/2",
        topic="attention scale",
        evidence=("tenstorrent/tt-metal#56789", "huggingface/pytorch-image-models#2385"),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{WIDTH} -> width: int = q.shape[-3] if q.ndim > 2 else 1",)},
    ),
    Mistake(
        name="scale_missing",
        what="the scores are not scaled",
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> 1.0",)},
    ),
    Mistake(
        name="scale_inverted",
        what="the scores are divided by head_dim^-1/2 instead of multiplied",
        topic="attention scale",
        evidence=("esceptico/perceiver-io#9",),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> float(width**0.5)",)},
    ),
    Mistake(
        name="scale_twice",
        what="queries and keys are both scaled by head_dim^-1/2",
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> float(width**-1.0)",)},
    ),
    Mistake(
        name="softmax_over_queries",
        what="the softmax is normalised over the queries instead of the keys",
        topic="softmax axis",
        evidence=(
            "labmlai/annotated_deep_learning_paper_implementations#146",
            "nerminnuraydogan/vision-transformer#1",
        ),
        shows="blocks.0.attn.softmax",
        edits=softmax_over("max(-2, -x.ndim)"),
    ),
    Mistake(
        name="softmax_over_heads",
        what="the softmax is normalised over heads and keys together",
        topic="softmax axis",
        evidence=("facebookresearch/detr#247",),
        shows="blocks.0.attn.softmax",
        edits=softmax_over("(-3, -1) if x.ndim > 3 else -1"),
    ),
    Mistake(
        name="softmax_missing",
        what="the values are averaged with the scores, without softmax",
        topic="softmax axis",
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "attention_core": (
                'p = t.step("softmax", softmax, s) -> p = s',
                'ds = t.undo("softmax", dp) -> ds = dp',
            )
        },
    ),
    Mistake(
        name="softmax_overflows",
        what="the maximum is not subtracted before the exponential: noticed where scores are large only",
        topic="precision",
        evidence=(),
        shows="*",
        edits={"softmax": (f"{EXP} -> e = xp.exp(x)",)},
    ),
    Mistake(
        name="heads_split_without_permutation",
        what="qkv is reshaped to heads without the permutation, so that heads mix tokens",
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
    ),
    Mistake(
        name="heads_innermost",
        what="the channels of q, k and v are read as (head_dim, heads) instead of (heads, head_dim)",
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
    ),
    Mistake(
        name="queries_and_keys_swapped",
        what="queries and keys are exchanged: the scores are transposed",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={
            "attention": ("q, k, v = t.step( -> k, q, v = t.step(", "(dq, dk, dv)) -> (dk, dq, dv))"),
        },
    ),
    Mistake(
        name="attention_over_the_batch",
        what="attention runs over the images of the batch instead of the tokens (batch_first)",
        topic="batch axis",
        evidence=("om-ai-lab/OmDet#19", "Exorust/TorchLeet#5", "IBM/TabFormer#14", "zhihou7/BatchFormer#29"),
        shows="blocks.0.attn.qkv",
        edits={
            "attention": (
                'qkv = t.step("qkv", linear, x, -> '
                'qkv = t.step("qkv", linear, t.run.xp.permute_dims(x, (1, 0, 2)),',
                'y = t.step("proj", linear, y) -> '
                'y = t.run.xp.permute_dims(t.step("proj", linear, y), (1, 0, 2))',
                'dy = t.undo("proj", dy) -> dy = t.undo("proj", t.run.xp.permute_dims(dy, (1, 0, 2)))',
                'return t.undo("qkv", dqkv) -> return t.run.xp.permute_dims(t.undo("qkv", dqkv), (1, 0, 2))',
            )
        },
    ),
    Mistake(
        name="softmax_sum_missing_in_dx",
        what="softmax's dx is y dy, without the sum over the keys",
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(y * dy)",)},
    ),
    Mistake(
        name="softmax_diagonal_in_dx",
        what="softmax's dx is dy y (1 - y), the diagonal of its Jacobian only",
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(dy * y * (1 - y))",)},
    ),
    Mistake(
        name="softmax_without_gradient",
        what="softmax passes no gradient on: its dx is zero",
        topic="gradients",
        evidence=SILENT,
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(0 * dy)",)},
    ),
    Mistake(
        name="scale_missing_in_dq",
        what="the scale is left out of the gradient of the queries",
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("dq = xp.matmul(ds, k) * scale(q) -> dq = xp.matmul(ds, k)",)},
    ),
    Mistake(
        name="scale_missing_in_dk",
        what="the scale is left out of the gradient of the keys",
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits={"scores": ("xp.matrix_transpose(ds), q * scale(q)) -> xp.matrix_transpose(ds), q)",)},
    ),
    Mistake(
        name="ds_transposed_in_dq",
        what="the gradient of the scores is transposed once too often on the way to the queries",
        topic="gradients",
        evidence=("huggingface/diffusers#14338",),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("dq = xp.matmul(ds, k) -> dq = xp.matmul(xp.matrix_transpose(ds), k)",)},
    ),
    Mistake(
        name="dq_and_dk_exchanged",
        what="the gradients of queries and keys are exchanged",
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(dk, dq)",)},
    ),
    Mistake(
        name="p_not_transposed_in_dv",
        what="the attention weights are not transposed in the gradient of the values",
        topic="gradients",
        evidence=("huggingface/diffusers#14338",),
        shows="*.attn.v:dy",
        backward=True,
        edits={"context": ("xp.matmul(xp.matrix_transpose(p), dy) -> xp.matmul(p, dy)",)},
    ),
    Mistake(
        name="queries_without_gradient",
        what="no gradient reaches the queries",
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(0 * dq, dk)",)},
    ),
    Mistake(
        name="heads_not_unmerged",
        what="the gradient of the merged heads is reshaped without the permutation",
        topic="split into heads",
        evidence=HEADS,
        shows="*.attn.context:dy",
        backward=True,
        edits={
            "merge_heads": (
                "(n, t, saved.heads, width // saved.heads) -> (n, saved.heads, t, width // saved.heads)",
                "Grads(xp.permute_dims(x, (0, 2, 1, 3))) -> Grads(x)",
            )
        },
    ),
    Mistake(
        name="heads_not_unsplit",
        what="the gradients of q, k and v are reshaped to qkv without the permutation",
        topic="split into heads",
        evidence=HEADS,
        shows="*.attn.qkv:dy",
        backward=True,
        edits={"split_heads": (f"{UNSPLIT} -> xp.stack(dy, axis=2)",)},
    ),
)
