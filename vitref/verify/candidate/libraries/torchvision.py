"""torchvision: modules of VisionTransformer, and its parameters.

Query, key and value live inside nn.MultiheadAttention, whose parts are no modules that run; its output is
the block's attention. Dropout in evaluation passes its input on.
Source: torchvision/models/vision_transformer.py; `mlp.linear_1` is of the first version of its files.
"""

from vitref.verify.candidate.layouts import channels_first
from vitref.verify.candidate.libraries.table import FINAL, LAST_BLOCK, Table

_LAYERS = {
    "conv_proj": "patch_embed.proj",
    "encoder.ln": "norm",
    "heads.pre_logits": "pre_logits.fc",
    "heads.head": "head",
    "encoder.layers.encoder_layer_{L}.ln_1": "blocks.{L}.norm1",
    "encoder.layers.encoder_layer_{L}.self_attention.out_proj": "blocks.{L}.attn.proj",
    "encoder.layers.encoder_layer_{L}.ln_2": "blocks.{L}.norm2",
    "encoder.layers.encoder_layer_{L}.mlp.0": "blocks.{L}.mlp.fc1",
    "encoder.layers.encoder_layer_{L}.mlp.3": "blocks.{L}.mlp.fc2",
    "encoder.layers.encoder_layer_{L}.mlp.linear_1": "blocks.{L}.mlp.fc1",
    "encoder.layers.encoder_layer_{L}.mlp.linear_2": "blocks.{L}.mlp.fc2",
}
"""The layers with `.weight` and `.bias`."""

_IN_PROJ = "encoder.layers.encoder_layer_{L}.self_attention.in_proj_"

TABLE = Table(
    outer={
        "conv_proj": ("patch_embed.proj", channels_first),
        "encoder.dropout": "embed",
        "encoder.layers": LAST_BLOCK,
        "encoder.ln": "norm",
        "encoder": "norm",
        "heads.pre_logits": "pre_logits.fc",
        "heads.act": "pre_logits.act",
        "heads.head": "head",
        "heads": "head",
        "": FINAL,
    },
    inner={
        "": "",
        "ln_1": "norm1",
        "self_attention": "attn",
        "dropout": "attn",
        "ln_2": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.linear_1": "mlp.fc1",
        "mlp.1": "mlp.act",
        "mlp.2": "mlp.act",
        "mlp.3": "mlp.fc2",
        "mlp.linear_2": "mlp.fc2",
        "mlp": "mlp",
        "mlp.4": "mlp",
    },
    blocks=("encoder.layers.encoder_layer_",),
    parameters={
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        f"{_IN_PROJ}weight": "blocks.{L}.attn.qkv.weight",
        f"{_IN_PROJ}bias": "blocks.{L}.attn.qkv.bias",
        **{
            f"{theirs}.{part}": f"{ours}.{part}"
            for theirs, ours in _LAYERS.items()
            for part in ("weight", "bias")
        },
    },
)
