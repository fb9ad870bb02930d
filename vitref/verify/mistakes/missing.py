"""Mistakes of loaders that leave tensors out: what then stands there is zero, one or random."""

import numpy as np

from vitref.config import Config
from vitref.verify.mistakes.changes import each, ones, without, zeros
from vitref.verify.mistakes.mistake import Mistake, Tensors
from vitref.verify.mistakes.refutations import EQUAL_FACTORS, EQUAL_NORMS, ZERO_BIAS, ZERO_TABLE

SILENT = ("pytorch/pytorch#141256", "huggingface/transformers#41693", "huggingface/transformers#46266")


def untrained(tensors: Tensors, config: Config) -> Tensors:
    """A random start: which one, no program tells."""
    rng = np.random.default_rng(0)
    return {
        name: 0.02 * rng.standard_normal(array.shape) if name.endswith("weight") else np.zeros_like(array)
        for name, array in tensors.items()
        if ".attn." in name
    }


def zero_head(tensors: Tensors, config: Config) -> Tensors:
    return {name: np.zeros_like(tensors[name]) for name in tensors if name.startswith("head.")}


def no_last_block(tensors: Tensors, config: Config) -> Tensors:
    last = f"blocks.{config.depth - 1}."
    names = (f"{last}{layer}.{part}" for layer in ("attn.proj", "mlp.fc2") for part in ("weight", "bias"))
    return {name: np.zeros_like(tensors[name]) for name in names}


def no_first_block(tensors: Tensors, config: Config) -> Tensors:
    names = (f"blocks.0.{layer}.{part}" for layer in ("attn.proj", "mlp.fc2") for part in ("weight", "bias"))
    return {name: np.zeros_like(tensors[name]) for name in names}


def no_patch_positions(tensors: Tensors, config: Config) -> Tensors:
    table = tensors["pos_embed"].copy()
    table[:, config.position_prefix :] = 0
    return {"pos_embed": table}


MISTAKES = (
    Mistake(
        name="patch_bias_missing",
        what="the bias of the patch projection is dropped",
        look="a convolution without bias, as CLIP has it, or a bias that is not in the table of names",
        refute=ZERO_BIAS,
        topic="layout of the patch kernel",
        evidence=(),
        shows="patch_embed.proj",
        tensors=zeros("patch_embed.proj.bias"),
    ),
    Mistake(
        name="class_token_missing",
        what="the class token is zero",
        look=(
            "a parameter that is created and never filled, or a name such as class_embedding that "
            "is not known"
        ),
        refute="Look at token 0 of `cls_token`: an element that is not zero refutes it.",
        topic="names of tensors",
        evidence=(),
        shows="cls_token",
        tensors=zeros("cls_token"),
        needs=("class_token",),
    ),
    Mistake(
        name="positions_missing",
        what="no positions are added: the table is zero",
        look="a parameter that is created and never filled, or the line that adds it",
        refute=ZERO_TABLE,
        topic="names of tensors",
        evidence=(),
        shows="pos_embed",
        tensors=zeros("pos_embed"),
    ),
    Mistake(
        name="patches_without_position",
        what="only the class token gets a position",
        look="a table that is cut to its first row, or whose resized part is dropped",
        refute=ZERO_TABLE,
        topic="position of the class token",
        evidence=(),
        shows="pos_embed",
        tensors=no_patch_positions,
        needs=("class_token", "class_position"),
    ),
    Mistake(
        name="qkv_bias_missing",
        what="the bias of the fused projection is dropped",
        look="qkv_bias=False, or attention written without biases",
        refute=ZERO_BIAS,
        topic="bias of queries, keys and values",
        evidence=("Project-MONAI/MONAI#5148", "baaivision/EVA#59", "microsoft/unilm#510"),
        shows="blocks.0.attn.qkv",
        tensors=zeros("qkv.bias"),
        needs=("qkv_bias",),
        alike=("qkv_bias_ignored", "query_and_value_bias_missing"),
    ),
    Mistake(
        name="key_bias_missing",
        what="the bias of the keys is dropped",
        look="three projections of which the keys' has bias=False, as in BEiT, EVA and DINOv3",
        refute="Compare the middle third of `attn.qkv`, or `attn.k`: if it agrees, the bias is there.",
        topic="bias of queries, keys and values",
        evidence=("facebookresearch/dinov3#195", "ricklisz/MedDINOv3#10"),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", without(1)),
        needs=("qkv_bias",),
        equivalent="A bias b of the keys adds q_i b to every score of query i, and softmax does not see"
        " what a whole row has in common. Its own gradient is sum_i q_i sum_j ds_ij, and dq_i gains"
        " b sum_j ds_ij: both are 0, since the gradient of softmax sums to 0 over the keys.",
    ),
    Mistake(
        name="query_bias_missing",
        what="the bias of the queries is dropped",
        look=(
            "three projections of which the queries' has no bias, or a fused bias of which the "
            "first third is zero"
        ),
        refute=ZERO_BIAS,
        topic="bias of queries, keys and values",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", without(0)),
        needs=("qkv_bias",),
    ),
    Mistake(
        name="value_bias_missing",
        what="the bias of the values is dropped",
        look=(
            "three projections of which the values' has no bias, or a fused bias of which the "
            "last third is zero"
        ),
        refute=ZERO_BIAS,
        topic="bias of queries, keys and values",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", without(2)),
        needs=("qkv_bias",),
    ),
    Mistake(
        name="query_and_value_bias_missing",
        what="only the keys keep their bias",
        look=(
            "a fused bias that is filled in part, in the wrong place: BEiT and EVA store q_bias "
            "and v_bias, not k"
        ),
        refute=ZERO_BIAS,
        topic="bias of queries, keys and values",
        evidence=(),
        shows="blocks.0.attn.qkv",
        tensors=each("qkv.bias", without(0, 2)),
        needs=("qkv_bias",),
        alike=("qkv_bias_missing", "qkv_bias_ignored"),
    ),
    Mistake(
        name="proj_bias_missing",
        what="the bias behind the merged heads is dropped",
        look="an output projection of attention with bias=False",
        refute=ZERO_BIAS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=zeros("attn.proj.bias"),
    ),
    Mistake(
        name="fc1_bias_missing",
        what="the bias of the first layer of the MLP is dropped",
        look="a first linear layer of the MLP with bias=False",
        refute=ZERO_BIAS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.mlp.fc1",
        tensors=zeros("mlp.fc1.bias"),
    ),
    Mistake(
        name="fc2_bias_missing",
        what="the bias of the second layer of the MLP is dropped",
        look="a second linear layer of the MLP with bias=False",
        refute=ZERO_BIAS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.mlp.fc2",
        tensors=zeros("mlp.fc2.bias"),
    ),
    Mistake(
        name="linear_biases_missing",
        what="every linear layer of the blocks is without its bias",
        look="linear layers written as a product alone, or a loader that knows weights only",
        refute=ZERO_BIAS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.*",
        tensors=zeros("attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias"),
    ),
    Mistake(
        name="norm_biases_missing",
        what="the LayerNorms are without their biases",
        look="LayerNorm with bias=False, or names gamma and beta of which beta is not known",
        refute=ZERO_BIAS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=zeros("norm1.bias", "norm2.bias", "norm.bias"),
    ),
    Mistake(
        name="norm_weights_missing",
        what="the LayerNorms are without their weights",
        look="a LayerNorm that only adds a bias, or names gamma and beta of which gamma is not known",
        refute=EQUAL_NORMS,
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.norm1",
        tensors=ones("norm1.weight", "norm2.weight", "norm.weight"),
    ),
    Mistake(
        name="norms_left_untrained",
        what="the LayerNorms keep weight 1 and bias 0, because their names in the file were not known",
        look=(
            "LayerNorms whose names in the file (scale, gamma, ln_1, layernorm_before) are not in "
            "the table; elementwise_affine=False"
        ),
        refute=EQUAL_NORMS,
        topic="names of tensors",
        evidence=SILENT,
        shows="blocks.0.norm1",
        tensors=lambda tensors, config: {
            **ones("norm1.weight", "norm2.weight", "norm.weight")(tensors, config),
            **zeros("norm1.bias", "norm2.bias", "norm.bias")(tensors, config),
        },
    ),
    Mistake(
        name="final_norm_left_untrained",
        what="the last LayerNorm keeps weight 1 and bias 0",
        look=(
            "the name of the last LayerNorm, which differs most: norm, fc_norm, ln_post, "
            "layernorm, encoder.ln"
        ),
        refute=EQUAL_NORMS,
        topic="last LayerNorm",
        evidence=(),
        shows="*norm",
        tensors=lambda tensors, config: {
            name: np.ones_like(array) if name.endswith("weight") else np.zeros_like(array)
            for name, array in tensors.items()
            if name.startswith(("norm.", "fc_norm."))
        },
    ),
    Mistake(
        name="attention_left_untrained",
        what="the attention keeps its random start, because its names in the file were not known",
        look="names of the attention that the loader does not know, and strict=False",
        refute=(
            "Run the program twice from the start with other seeds: if it gives the same outputs, "
            "nothing is left random."
        ),
        topic="names of tensors",
        evidence=(*SILENT, "mlfoundations/open_clip#915"),
        shows="blocks.0.attn.qkv",
        tensors=untrained,
    ),
    Mistake(
        name="layer_scale_dropped",
        what="LayerScale's factors are not in the loaded model, which takes 1",
        look="ls1.gamma, lambda_1 or layer_scale1.lambda1 among the names that were left over",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=("riccardomusmeci/mlx-image#26", "davidtag/llm#10"),
        shows="blocks.0.ls1",
        tensors=each(".gamma", lambda array, config: np.ones_like(array)),
        needs=("layer_scale",),
        alike=("layer_scale_skipped",),
    ),
    Mistake(
        name="layer_scale_left_untrained",
        what="LayerScale's factors keep their start, 1e-5",
        look="LayerScale created with init_values=1e-5 and names that the loader did not know",
        refute="Divide `ls1` by the branch's output before it: a ratio other than 1e-5 refutes it.",
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        tensors=each(".gamma", lambda array, config: np.full_like(array, 1e-5)),
        needs=("layer_scale",),
    ),
    Mistake(
        name="last_block_missing",
        what="the last block is left out: its two branches add nothing",
        look="a loop over depth - 1 blocks, or features taken before the last block (hidden_states[-2])",
        refute=(
            "Compare the last block's output with its input: if they differ in the candidate, the "
            "block is there."
        ),
        topic="names of tensors",
        evidence=(),
        shows="blocks.*.attn.proj",
        tensors=no_last_block,
    ),
    Mistake(
        name="first_block_missing",
        what="the first block is left out: its two branches add nothing",
        look="a loop that begins at block 1, or names that count blocks from 1",
        refute="Compare the first block's output with its input: if they differ, the block is there.",
        topic="names of tensors",
        evidence=(),
        shows="blocks.0.attn.proj",
        tensors=no_first_block,
    ),
    Mistake(
        name="pre_logits_bias_missing",
        what="the bias of the pre-logits layer is dropped",
        look="a representation layer with bias=False",
        refute=ZERO_BIAS,
        topic="head",
        evidence=(),
        shows="pre_logits.fc",
        tensors=zeros("pre_logits.fc.bias"),
        needs=("pre_logits",),
    ),
    Mistake(
        name="head_bias_missing",
        what="the bias of the classifier is dropped",
        look="a classifier with bias=False, as in heads of contrastive models",
        refute=(
            "Subtract the logits of two images: if the differences are wrong as well, it is not the bias."
        ),
        topic="head",
        evidence=(),
        shows="head",
        tensors=zeros("head.bias"),
        needs=("classes",),
    ),
    Mistake(
        name="zero_head",
        what=(
            "the head is all zeros, as in checkpoints of pre-training, and every class gets the same logit"
        ),
        look=(
            "a checkpoint of pre-training, whose head is stored as zeros, or a head that was "
            "created for other classes"
        ),
        refute="Look for two logits of one image that differ: one pair is enough to refute it.",
        topic="head",
        evidence=("google-research/vision_transformer#252",),
        shows="head",
        tensors=zero_head,
        needs=("classes",),
    ),
)
