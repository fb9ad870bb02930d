"""Google's vit_jax: modules of VisionTransformer, as flax records them (capture_intermediates).

The published files number the modules of a block 0, 1, 2, 3, flax since Linen by kind; both are here.
Query, key and value keep the heads apart, (N, T, heads, d). Without representation layer `pre_logits` is a
module that passes its input on.
Source: google-research/vision_transformer, vit_jax/models_vit.py; flax/linen/attention.py.
"""

from vitref.verify.candidate.layouts import channels_last, tokens_first
from vitref.verify.candidate.libraries.table import FINAL, PRE_LOGITS, Table, Target


def _attention(name: str) -> dict[str, Target]:
    return {
        f"{name}.query": ("attn.q", tokens_first),
        f"{name}.key": ("attn.k", tokens_first),
        f"{name}.value": ("attn.v", tokens_first),
        f"{name}.out": "attn.proj",
        name: "attn",
    }


def _mlp(name: str) -> dict[str, Target]:
    return {
        f"{name}.Dense_0": "mlp.fc1",
        f"{name}.Dropout_0": "mlp.act",
        f"{name}.Dense_1": "mlp.fc2",
        name: "mlp",
        f"{name}.Dropout_1": "mlp",
    }


TABLE = Table(
    outer={
        "embedding": ("patch_embed.proj", channels_last),
        "Transformer.posembed_input": "pos_embed",
        "Transformer.Dropout_0": "embed",
        "Transformer.encoder_norm": "norm",
        "Transformer": "norm",
        "pre_logits": PRE_LOGITS,
        "head": "head",
        "": FINAL,
    },
    inner={
        "": "",
        "LayerNorm_0": "norm1",
        **_attention("MultiHeadDotProductAttention_1"),
        **_attention("MultiHeadDotProductAttention_0"),
        "Dropout_0": "attn",
        "LayerNorm_2": "norm2",
        "LayerNorm_1": "norm2",
        **_mlp("MlpBlock_3"),
        **_mlp("MlpBlock_0"),
    },
    blocks=("Transformer.encoderblock_",),
    prefixes=("", "intermediates.", "params.", "opt.target."),
    endings=(".__call__.0", ".__call__"),
)
