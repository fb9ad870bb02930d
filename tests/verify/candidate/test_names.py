"""The tables of module names, against arrays laid out as each library has them and lists of real names."""

from typing import Any

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError
from vitref.verify.candidate import library_of, rule
from vitref.verify.candidate.libraries import LIBRARIES, onnx_values

REAL = {
    "timm": {
        "patch_embed": "patch_embed.proj",
        "pos_drop": "embed",
        "blocks": "blocks.1",
        "blocks.0.attn.attn_drop": "blocks.0.attn.softmax",
        "blocks.0.attn.proj_drop": "blocks.0.attn",
        "blocks.0.drop_path2": "blocks.0.mlp",
        "fc_norm": "pooled",
        "head_drop": "head_input",
        "": "logits",
    },
    "huggingface": {
        "vit.embeddings": "embed",
        "vit.embeddings.patch_embeddings": "patch_embed.proj",
        "vit.encoder.layer.1.attention.attention": "blocks.1.attn.merge",
        "vit.encoder.layer.1.attention.output": "blocks.1.attn",
        "vit.encoder.layer.1.intermediate": "blocks.1.mlp.act",
        "vit.encoder.layer.1.output.dense": "blocks.1.mlp.fc2",
        "vit.encoder.layer.1.output": "blocks.1",
        "layers.0.mlp.activation_fn": "blocks.0.mlp.act",
        "vit.layers.0": "blocks.0",
        "vit.layernorm": "norm",
        "hidden_states.0": "embed",
        "hidden_states.2": "blocks.1",
        "attentions_1": "blocks.1.attn.softmax",
        "classifier": "head",
    },
    "torchvision": {
        "encoder.dropout": "embed",
        "encoder.layers.encoder_layer_1.self_attention": "blocks.1.attn",
        "encoder.layers.encoder_layer_1.mlp.1": "blocks.1.mlp.act",
        "encoder.layers.encoder_layer_1.mlp.linear_2": "blocks.1.mlp.fc2",
        "encoder.layers.encoder_layer_1": "blocks.1",
        "encoder": "norm",
        "heads": "head",
    },
    "google": {
        "Transformer/posembed_input/__call__/0": "pos_embed",
        "Transformer/encoderblock_1/LayerNorm_2": "blocks.1.norm2",
        "Transformer/encoderblock_1/LayerNorm_1/__call__": "blocks.1.norm2",
        "intermediates/Transformer/encoderblock_0/MlpBlock_3/__call__/0": "blocks.0.mlp",
        "Transformer.encoderblock_0.MlpBlock_0.Dense_1": "blocks.0.mlp.fc2",
        "Transformer/encoderblock_0/__call__/0": "blocks.0",
        "pre_logits": "pooled",
        "__call__/0": "logits",
    },
}


@pytest.mark.parametrize("library", REAL)
def test_names_of_modules(case: Any, library: str) -> None:
    for name, tap in REAL[library].items():
        found = rule(library, name, case.config)
        assert found is not None
        assert found.tap == tap
        cotangent = rule(library, f"{name}:dy", case.config)
        assert cotangent is not None
        assert cotangent.tap == f"{tap}:dy"


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_row_of_a_table_is_a_tap(case: Any, library: str) -> None:
    table = LIBRARIES[library]
    names = [
        *table.outer,
        *(f"{start}1.{inner}".rstrip(".") for start in table.blocks for inner in table.inner),
    ]
    for name in names:
        found = rule(library, name, case.config)
        assert found is not None
        assert found.tap in case.expected or found.tap.startswith("pre_logits")


@pytest.mark.parametrize("library", ["timm", "huggingface", "torchvision", "google"])
def test_a_file_of_a_library_is_read_in_its_layout(case: Any, library: str) -> None:
    arrays = laid_out(case, library)
    assert library_of(arrays) == library
    candidate = case.open(arrays)
    assert candidate.library == library
    assert len(candidate) >= 16
    for tap in candidate:
        assert np.array_equal(candidate[tap], case.trace[tap]), tap


def laid_out(case: Any, library: str) -> dict[str, HostArray]:
    """What hooks on a library's modules record, from the reference's values."""
    trace, config = case.trace, case.config
    images, (rows, columns) = len(trace["logits"]), config.grid

    def convolved(tap: str) -> HostArray:
        map_ = trace[tap].transpose(0, 2, 1).reshape(images, config.width, rows, columns)
        return np.asarray(map_.transpose(0, 2, 3, 1) if library == "google" else map_)

    def apart(tap: str) -> HostArray:
        tokens_first = trace[tap].transpose(0, 2, 1, 3)
        return np.asarray(
            tokens_first if library == "google" else tokens_first.reshape(images, config.tokens, -1)
        )

    found = {}
    for ending in ("", ":dy"):
        for name, tap in REAL[library].items():
            found[f"{name}{ending}"] = trace[f"{tap}{ending}"]
        found[f"{CONVOLUTION[library]}{ending}"] = convolved(f"patch_embed.proj{ending}")
        for name, tap in APART.get(library, {}).items():
            found[f"{name}{ending}"] = apart(f"{tap}{ending}")
    return found


CONVOLUTION = {
    "timm": "patch_embed.proj",
    "huggingface": "vit.embeddings.patch_embeddings.projection",
    "torchvision": "conv_proj",
    "google": "embedding/__call__/0",
}
APART = {
    "huggingface": {
        "vit.encoder.layer.0.attention.attention.query": "blocks.0.attn.q",
        "vit.encoder.layer.0.attention.attention.key": "blocks.0.attn.k",
        "vit.layers.1.attention.v_proj": "blocks.1.attn.v",
    },
    "google": {
        "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/__call__/0": "blocks.1.attn.q",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_0/value/__call__/0": "blocks.0.attn.v",
    },
}


def test_of_two_names_for_one_output_the_first_in_the_table_is_read(case: Any) -> None:
    right, other = case.trace["blocks.0.mlp"], np.zeros_like(case.trace["blocks.0.mlp"])
    names = ["blocks.0.drop_path2", "blocks.0.ls2"]
    for order in (names, names[::-1]):
        arrays = {name: right if name == "blocks.0.ls2" else other for name in order}
        candidate = case.open(arrays)
        assert np.array_equal(candidate["blocks.0.mlp"], right)
        assert candidate.second == {"blocks.0.drop_path2": "blocks.0.mlp"}


def test_optional_layers_change_what_a_module_holds(case: Any) -> None:
    def tap(name: str, **fields: Any) -> str:
        found = rule("timm", name, Config(**{**case.config.to_dict(), **fields}))
        assert found is not None
        return found.tap

    assert tap("blocks.0.ls1", layer_scale=True) == "blocks.0.ls1"
    assert tap("blocks.0.drop_path2", layer_scale=True) == "blocks.0.ls2"
    assert tap("norm", final_norm="pooled") == "tokens"
    assert tap("fc_norm", final_norm="pooled") == "fc_norm"
    assert tap("", classes=0) == "head_input"


def test_names_that_nobody_has() -> None:
    assert library_of(["foo", "bar.0"]) is None
    assert library_of([]) is None
    config = Config.variant("ViT-Ti/16", convention="timm")
    assert rule("timm", "blocks.0.attn.query", config) is None
    assert rule("timm", "blocks.00.norm1", config) is None
    with pytest.raises(ConfigError, match="one of timm"):
        rule("keras", "blocks.0", config)


def test_a_module_that_runs_twice_is_left_out(case: Any) -> None:
    arrays = {"vit.layers.0": case.trace["blocks.0"], "vit.layers.0.dropout": case.trace["blocks.0.mlp"]}
    candidate = case.open(arrays)
    assert list(candidate) == ["blocks.0"]
    assert "more than once" in candidate.left_out["vit.layers.0.dropout"]
    assert "vit.layers.0.dropout" in candidate.remarks[-1]


ONNX = {
    "/patch_embed/proj/Conv_output_0": "patch_embed.proj",
    "/blocks/blocks.0/norm1/LayerNormalization_output_0": "blocks.0.norm1",
    "/blocks/blocks.0/attn/qkv/Add_output_0": "blocks.0.attn.qkv",
    "/blocks/blocks.0/attn/Softmax_output_0": "blocks.0.attn.softmax",
    "/blocks/blocks.0/attn/MatMul_1_output_0": "blocks.0.attn.context",
    "/blocks/blocks.0/mlp/act/Mul_1_output_0": "blocks.0.mlp.act",
    "/blocks/blocks.0/Add_output_0": "blocks.0.add1",
    "/blocks/blocks.0/Add_1_output_0": "blocks.0",
    "/norm/LayerNormalization_output_0": "norm",
    "198": "logits",
}
ONNX_INSIDE = (
    "/blocks/blocks.0/attn/qkv/MatMul_output_0",
    "/blocks/blocks.0/attn/MatMul_output_0",
    "/blocks/blocks.0/mlp/act/Erf_output_0",
    "/blocks/blocks.0/attn/Split_output_2",
    "/Concat_output_0",
)


def test_names_of_onnx_values(case: Any) -> None:
    arrays = {name: case.trace[tap] for name, tap in ONNX.items()}
    arrays |= {name: np.zeros(3) for name in ONNX_INSIDE}
    candidate = case.open(arrays)
    assert {name: tap for tap, name in candidate.renamed.items()} == ONNX
    assert set(candidate.left_out) == set(ONNX_INSIDE)
    assert all(np.array_equal(candidate[tap], case.trace[tap]) for tap in candidate)


def test_names_of_onnx_values_are_split() -> None:
    name = "/vit/encoder/layer.0/layernorm_before/LayerNormalization_output_0"
    assert onnx_values.split(name) == ("vit.encoder.layer.0.layernorm_before", "LayerNormalization")
    assert onnx_values.split("/Add_3_output_0") == ("", "Add_3")
    assert onnx_values.split("logits") is None
