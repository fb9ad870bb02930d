"""Hugging Face transformers: modules of ViTModel and ViTForImageClassification, and fields of their outputs.

The blocks are `encoder.layer.L` before transformers 5 and `layers.L` since; both are here. `output` is the
block's end, residual included, while `attention` and `attention.output` are not. The fields of an output
(`hidden_states`, `attentions`, ...) are recorded as NAME.NUMBER.

Source: transformers/models/vit/modeling_vit.py, of 4.57 and of 5.23.
"""

from vitref.verify.candidate.layouts import channels_first, joined_heads
from vitref.verify.candidate.libraries.table import FINAL, LAST_BLOCK, Table

TABLE = Table(
    outer={
        "embeddings.patch_embeddings.projection": ("patch_embed.proj", channels_first),
        "embeddings.patch_embeddings": "patch_embed.proj",
        "embeddings": "embed",
        "embeddings.dropout": "embed",
        "encoder": LAST_BLOCK,
        "layernorm": "norm",
        "last_hidden_state": "norm",
        "pooler.dense": "pre_logits.fc",
        "pooler.activation": "pre_logits.act",
        "pooler": "pre_logits",
        "pooler_output": "pre_logits",
        "classifier": "head",
        "": FINAL,
    },
    inner={
        "": "",
        "layernorm_before": "norm1",
        "attention.attention.query": ("attn.q", joined_heads),
        "attention.attention.key": ("attn.k", joined_heads),
        "attention.attention.value": ("attn.v", joined_heads),
        "attention.q_proj": ("attn.q", joined_heads),
        "attention.k_proj": ("attn.k", joined_heads),
        "attention.v_proj": ("attn.v", joined_heads),
        "attention.attention.dropout": "attn.softmax",
        "attention.attention": "attn.merge",
        "attention.output.dense": "attn.proj",
        "attention.o_proj": "attn.proj",
        "attention": "attn",
        "attention.output": "attn",
        "attention.output.dropout": "attn",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "intermediate.intermediate_act_fn": "mlp.act",
        "intermediate": "mlp.act",
        "output.dense": "mlp.fc2",
        "output.dropout": "mlp",
        "output": "",
        "mlp.fc1": "mlp.fc1",
        "mlp.activation_fn": "mlp.act",
        "mlp.fc2": "mlp.fc2",
        "mlp": "mlp",
    },
    blocks=("encoder.layer.", "layers."),
    prefixes=("vit.", ""),
    several=("dropout",),
)
