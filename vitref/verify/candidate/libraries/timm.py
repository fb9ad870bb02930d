"""timm: modules of VisionTransformer. Most are taps of vitref, which has its names from there.

Modules that pass their input on (nn.Identity, dropout in evaluation) hold the tap before them.
Source: timm/models/vision_transformer.py (VisionTransformer, Block), timm/layers/{attention,mlp}.py.
"""

from vitref.verify.candidate.layouts import channels_first
from vitref.verify.candidate.libraries.table import BRANCH_1, BRANCH_2, FINAL, LAST_BLOCK, Table

TABLE = Table(
    outer={
        "patch_embed.proj": ("patch_embed.proj", channels_first),
        "patch_embed": "patch_embed.proj",
        "patch_embed.norm": "patch_embed.proj",
        "norm_pre": "embed",
        "patch_drop": "embed",
        "pos_drop": "embed",
        "blocks": LAST_BLOCK,
        "norm": "norm",
        "fc_norm": "fc_norm",
        "head_drop": "head_input",
        "head": "head",
        "": FINAL,
    },
    inner={
        "": "",
        "norm1": "norm1",
        "attn.qkv": "attn.qkv",
        "attn.q_norm": "attn.q",
        "attn.k_norm": "attn.k",
        "attn.attn_drop": "attn.softmax",
        "attn.norm": "attn.merge",
        "attn.proj": "attn.proj",
        "attn": "attn",
        "attn.proj_drop": "attn",
        "ls1": BRANCH_1,
        "drop_path1": BRANCH_1,
        "norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.act": "mlp.act",
        "mlp.drop1": "mlp.act",
        "mlp.norm": "mlp.act",
        "mlp.fc2": "mlp.fc2",
        "mlp": "mlp",
        "mlp.drop2": "mlp",
        "ls2": BRANCH_2,
        "drop_path2": BRANCH_2,
    },
    blocks=("blocks.",),
)
