"""Gradients of parameters, in every library's names and layouts, marked in every way."""

from typing import Any

import numpy as np
import pytest

from vitref.array import HostArray
from vitref.errors import CheckpointError, ConfigError

MARKS = ("{}:grad", "{}.grad", "grad.{}", "grad/{}", "{}")


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("library", ["timm", "huggingface", "google", "torchvision"])
def test_gradients_in_the_names_of_a_library(case: Any, library: str, mark: str) -> None:
    arrays = {mark.format(name): array for name, array in exported(case, library).items()}
    candidate = case.open(arrays)
    assert list(candidate) == [tap for tap in case.trace if tap.endswith(":grad")]
    for tap in candidate:
        assert candidate.shape(tap) == case.expected[tap]
        assert np.array_equal(candidate[tap], case.trace[tap])
    assert bool(candidate.remarks) == (mark == "{}")


def exported(case: Any, library: str) -> dict[str, HostArray]:
    if library != "torchvision":
        return dict(case.weights.export(case.gradients(), format=library))
    return {torchvision_name(name): array for name, array in case.gradients().items()}


def torchvision_name(name: str) -> str:
    """Written by hand, apart from the table."""
    outer = {"cls_token": "class_token", "pos_embed": "encoder.pos_embedding"}
    changes = [
        ("patch_embed.proj", "conv_proj"),
        ("blocks.", "encoder.layers.encoder_layer_"),
        ("attn.qkv.weight", "self_attention.in_proj_weight"),
        ("attn.qkv.bias", "self_attention.in_proj_bias"),
        ("attn.proj", "self_attention.out_proj"),
        ("norm1", "ln_1"),
        ("norm2", "ln_2"),
        ("mlp.fc1", "mlp.0"),
        ("mlp.fc2", "mlp.3"),
        ("norm.", "encoder.ln."),
        ("head.", "heads.head."),
    ]
    name = outer.get(name, name)
    for ours, theirs in changes:
        name = name.replace(ours, theirs)
    return name


def test_gradients_beside_outputs(case: Any) -> None:
    arrays = {f"{name}:grad": array for name, array in exported(case, "huggingface").items()}
    arrays |= {"vit.embeddings": case.trace["embed"], "classifier:dy": case.trace["head:dy"]}
    candidate = case.open(arrays)
    assert {"embed", "head:dy", "blocks.1.attn.qkv.weight:grad"} <= set(candidate)
    parts = "vit.encoder.layer.1.attention.attention.{}.weight:grad"
    assert candidate.renamed["blocks.1.attn.qkv.weight:grad"] == ", ".join(
        parts.format(part) for part in ("query", "key", "value")
    )


def test_the_gradient_of_an_output_is_its_cotangent(case: Any) -> None:
    candidate = case.open({"blocks.0.norm1.grad": case.trace["blocks.0.norm1:dy"]})
    assert list(candidate) == ["blocks.0.norm1:dy"]


def test_outputs_whose_names_are_parameters_too_are_outputs(case: Any) -> None:
    candidate = case.open({tap: case.trace[tap] for tap in ("cls_token", "pos_embed")})
    assert list(candidate) == ["cls_token", "pos_embed"]


def test_a_missing_part_of_query_key_and_value(case: Any) -> None:
    arrays = exported(case, "huggingface")
    del arrays["vit.encoder.layer.0.attention.attention.key.bias"]
    with pytest.raises(CheckpointError, match=r"no gradient of .*key\.bias"):
        case.open(arrays)


def test_parts_of_different_dtypes(case: Any) -> None:
    arrays = exported(case, "huggingface")
    name = "vit.encoder.layer.0.attention.attention.key.bias"
    arrays[name] = arrays[name].astype(np.float32)
    with pytest.raises(CheckpointError, match="one dtype"):
        case.open(arrays)["blocks.0.attn.qkv.bias:grad"]


def test_a_gradient_twice(case: Any) -> None:
    gradient = case.trace["head.bias:grad"]
    with pytest.raises(CheckpointError, match=r"two arrays for head\.bias:grad"):
        case.open({"head.bias:grad": gradient, "grad.classifier.bias": gradient})


def test_a_gradient_of_another_model(case: Any) -> None:
    with pytest.raises(ConfigError, match=r"blocks\.0\.ls1\.gamma"):
        case.open({"blocks.0.ls1.gamma:grad": np.zeros(12), "head": case.trace["head"]})
