"""What is no candidate of this model gets an error that says what it looks like, never a partial result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.verify.candidate import open_candidate

FORWARD = ("embed", "blocks.0", "blocks.1", "norm", "head")


def taps(case: Any, names: tuple[str, ...] = FORWARD) -> dict[str, Any]:
    return {name: np.array(case.trace[name]) for name in names}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_tap_and_index(case: Any, value: float) -> None:
    arrays = taps(case)
    arrays["blocks.1"][1, 3, 5] = value
    arrays["blocks.1"][1, 4, 5] = value
    candidate = case.open(arrays)
    assert candidate["blocks.0"].shape == (2, 7, 12)
    with pytest.raises(
        CheckpointError, match=r"blocks\.1: found -?(nan|inf) at index \[1, 3, 5\] \(2 of 168"
    ):
        candidate["blocks.1"]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.complex128, np.longdouble])
def test_dtypes_that_no_tap_has(case: Any, dtype: Any) -> None:
    arrays = taps(case)
    arrays["norm"] = np.ones((2, 7, 12), dtype=dtype)
    with pytest.raises(CheckpointError, match="norm: found the dtype"):
        case.open(arrays)


def test_float8_in_a_file(case: Any, tmp_path: Path) -> None:
    header = b'{"norm":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="norm: found the dtype 'F8_E4M3'"):
        case.open(tmp_path / "a.safetensors")


def test_another_batch(case: Any) -> None:
    arrays = {name: np.concatenate([array, array[:1]]) for name, array in taps(case).items()}
    with pytest.raises(ConfigError, match="a batch of 3 instead of 2") as caught:
        case.open(arrays)
    assert "5 of 5 taps" in caught.value.found


def test_mixed_batches(case: Any) -> None:
    arrays = taps(case)
    arrays["norm"] = arrays["norm"][:1]
    with pytest.raises(ConfigError, match=r"different numbers of images \(2 in embed, 1 in norm\)"):
        case.open(arrays)


def test_no_batch_axis(case: Any) -> None:
    arrays = {name: array[0] for name, array in taps(case).items()}
    with pytest.raises(ConfigError, match="without a batch axis"):
        case.open(arrays)


def test_another_layout(case: Any) -> None:
    arrays = taps(case) | {"norm": case.trace["norm"].transpose(0, 2, 1)}
    with pytest.raises(ConfigError, match=r"norm: \(2, 12, 7\), where norm has \(2, 7, 12\)") as caught:
        case.open(arrays)
    assert "another layout" in caught.value.remedy


def test_a_wider_model_is_said_once(case: Any) -> None:
    arrays = {name: np.zeros((*array.shape[:-1], 24)) for name, array in taps(case).items()}
    with pytest.raises(ConfigError) as caught:
        case.open(arrays)
    assert "another model" in caught.value.remedy
    assert caught.value.found.startswith("5 of 5 taps")


def test_a_long_list_is_cut(case: Any) -> None:
    arrays = {tap: np.zeros((*array.shape, 2)) for tap, array in case.trace.items()}
    with pytest.raises(ConfigError) as caught:
        case.open(arrays)
    assert f"and {len(case.trace) - 5} more" in caught.value.found


@pytest.mark.parametrize("name", ["blocks.2.norm1", "blocks.2:dy", "blocks.0.ls1.gamma"])
def test_a_tap_that_the_model_does_not_have(case: Any, name: str) -> None:
    with pytest.raises(ConfigError):
        case.open({**taps(case), name: case.trace["norm"]})


def test_a_deeper_model(case: Any) -> None:
    deeper = {f"vit.layers.{i}": case.trace["norm"] for i in range(4)}
    with pytest.raises(
        ConfigError, match=r"2 outputs that the reference lacks \(vit\.layers\.2, vit\.layers\.3\)"
    ):
        case.open(deeper)


def test_a_backward_pass_that_the_reference_does_not_have(case: Any) -> None:
    forward = {tap: shape for tap, shape in case.expected.items() if ":" not in tap and tap != "loss"}
    arrays = {**taps(case), "norm:dy": case.trace["norm:dy"], "head.bias:grad": case.trace["head.bias:grad"]}
    with pytest.raises(ConfigError, match="no backward pass") as caught:
        open_candidate(arrays, expected=forward, config=case.config)
    assert "labels=" in caught.value.remedy


def test_inputs_alone(case: Any) -> None:
    with pytest.raises(ConfigError, match=r"nothing but input\.image"):
        case.open({"input.image": case.trace["image"]})


def test_names_with_slashes_and_dots_are_one(case: Any) -> None:
    arrays = {"blocks.0": case.trace["blocks.0"], "blocks/0": case.trace["blocks.0"]}
    with pytest.raises(CheckpointError, match=r"two arrays for blocks\.0"):
        case.open(arrays)


def test_a_model_without_head_ends_with_its_features() -> None:
    config = Config.variant("ViT-Ti/16", convention="timm", classes=0, depth=1)
    expected = {"head_input": (1, 192), "pooled": (1, 192)}
    candidate = open_candidate({"y": np.zeros((1, 192))}, expected=expected, config=config)
    assert list(candidate) == ["head_input"]
