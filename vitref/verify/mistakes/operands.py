"""Mistakes of what the attention is taken of: which tensors are queries, keys and values, and over what."""

from vitref.verify.mistakes.mistake import Mistake


def read_as(q: str, k: str, v: str, *back: str) -> dict[str, tuple[str, ...]]:
    """The core gets other tensors than q, k, v; `back` is what the cotangents of q, k, v then are."""
    return {
        "attention": (
            f"attention_core, q, k, v, -> attention_core, {q}, {k}, {v},",
            f'dqkv = t.undo("", (dq, dk, dv)) -> dqkv = t.undo("", ({", ".join(back)}))',
        )
    }


MISTAKES = (
    Mistake(
        name="weights_transposed",
        what="the attention weights are transposed where they average the values",
        look="p.transpose(-2, -1) @ v, or einsum axes exchanged in the second product",
        refute=(
            "Multiply `attn.softmax` and `attn.v`: if the product is `attn.context`, this is not the cause."
        ),
        topic="softmax axis",
        evidence=(),
        shows="blocks.0.attn.context",
        edits={
            "context": (
                "return xp.matmul(p, v) -> return xp.matmul(xp.matrix_transpose(p), v)",
                "dp = xp.matmul(dy, xp.matrix_transpose(v)) -> dp = xp.matmul(v, xp.matrix_transpose(dy))",
                "xp.matmul(xp.matrix_transpose(p), dy) -> xp.matmul(p, dy)",
            )
        },
    ),
    Mistake(
        name="queries_and_keys_swapped",
        what="queries and keys are exchanged: the scores are transposed",
        look="the order of q and k where the fused output is unpacked, or k @ q.T",
        refute="Transpose `attn.scores`: unless it then agrees, this is not the cause.",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={
            "attention": ("q, k, v = t.step( -> k, q, v = t.step(", "(dq, dk, dv)) -> (dk, dq, dv))"),
        },
        alike=("queries_and_keys_exchanged",),
    ),
    Mistake(
        name="keys_and_values_swapped",
        what="keys and values are exchanged where the fused output is unpacked",
        look="the order of k and v where the fused output is unpacked",
        refute="Compare `attn.k` with the right `attn.v`: unless they agree, this is not the cause.",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("q", "v", "k", "dq", "dv", "dk"),
        alike=("keys_and_values_exchanged",),
    ),
    Mistake(
        name="queries_and_values_swapped",
        what="queries and values are exchanged where the fused output is unpacked",
        look="the order of q and v where the fused output is unpacked",
        refute="Compare `attn.q` with the right `attn.v`: unless they agree, this is not the cause.",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("v", "k", "q", "dv", "dk", "dq"),
        alike=("queries_and_values_exchanged",),
    ),
    Mistake(
        name="qkv_read_kvq",
        what="the fused output is unpacked as k, v, q",
        look="the order of names where the fused output is unpacked",
        refute="Compare `attn.q` with the right `attn.v`: unless they agree, this is not the cause.",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("k", "v", "q", "dv", "dq", "dk"),
        alike=("qkv_filled_kvq",),
    ),
    Mistake(
        name="qkv_read_vqk",
        what="the fused output is unpacked as v, q, k",
        look="the order of names where the fused output is unpacked",
        refute="Compare `attn.q` with the right `attn.k`: unless they agree, this is not the cause.",
        topic="fused projection",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("v", "q", "k", "dk", "dv", "dq"),
        alike=("qkv_filled_vqk",),
    ),
    Mistake(
        name="keys_for_values",
        what="the keys are averaged in the place of the values",
        look="attention(q, k, k), or the same slice of the fused output taken twice",
        refute=(
            "Multiply `attn.softmax` and `attn.v`: if the product is `attn.context`, this is not the cause."
        ),
        evidence=(),
        shows="blocks.0.attn.context",
        edits=read_as("q", "k", "k", "dq", "dk + dv", "None"),
    ),
    Mistake(
        name="queries_for_keys",
        what="the queries are multiplied with themselves in the place of the keys",
        look="attention(q, q, v), or the same slice of the fused output taken twice",
        refute="Look at `attn.scores`: if it is not symmetric in queries and keys, this is not the cause.",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("q", "q", "v", "dq + dk", "None", "dv"),
    ),
    Mistake(
        name="keys_for_queries",
        what="the keys are multiplied with themselves in the place of the queries",
        look="attention(k, k, v), or the same slice of the fused output taken twice",
        refute="Look at `attn.scores`: if it is not symmetric in queries and keys, this is not the cause.",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits=read_as("k", "k", "v", "None", "dq + dk", "dv"),
    ),
    Mistake(
        name="attention_over_the_batch",
        what="attention runs over the images of the batch instead of the tokens (batch_first)",
        look="nn.MultiheadAttention without batch_first=True, fed with (N, T, D)",
        refute=(
            "Change one image of the batch: if the outputs of no other image change, this is not the cause."
        ),
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
                (
                    'return t.undo("qkv", dqkv) -> return t.run.xp.permute_dims(t.undo("qkv", dqkv), (1, '
                    "0, 2))"
                ),
            )
        },
    ),
)
