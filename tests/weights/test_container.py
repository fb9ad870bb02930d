"""Weights: complete, finite, in order, and nobody can change them."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from vitref import backends
from vitref.config import Config
from vitref.errors import BackendError, CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Source, Weights, load
from vitref.weights.files import load_tensors, save_tensors


def writeable(weights: Weights) -> dict[str, Any]:
    return {name: array.copy() for name, array in weights.items()}


def same_bits(one: Any, two: Any) -> bool:
    return list(one) == list(two) and all(
        one[name].dtype == two[name].dtype
        and one[name].shape == two[name].shape
        and one[name].tobytes() == two[name].tobytes()
        for name in one
    )


def test_the_order_is_that_of_the_forward_pass(weights: Weights, config: Config) -> None:
    shuffled = dict(sorted(weights.items(), reverse=True))
    made = Weights(shuffled, config)
    assert {name: array.shape for name, array in made.items()} == config.parameter_shapes()
    assert list(made) == list(config.parameter_shapes())


def test_every_problem_is_in_one_error(weights: Weights, config: Config) -> None:
    tensors = writeable(weights)
    del tensors["norm.bias"], tensors["blocks.0.norm1.bias"], tensors["blocks.1.norm1.bias"]
    tensors["reg_token"] = np.zeros((1, 4, 12), "f4")
    for i in range(2):
        tensors[f"blocks.{i}.ls1.gamma"] = np.zeros(12, "f4")
    tensors["head.weight"] = tensors["head.weight"].T
    tensors["cls_token"] = tensors["cls_token"].astype(np.int64)
    with pytest.raises(CheckpointError) as caught:
        Weights(tensors, config)
    assert caught.value.found.splitlines()[1:] == [
        "  missing blocks.*.norm1.bias (blocks 0, 1)",
        "  missing norm.bias",
        "  extra reg_token (1, 4, 12): register tokens, not supported in this version",
        "  extra blocks.*.ls1.gamma (12,) (blocks 0, 1)",
        "  misshapen head.weight (12, 7), expected (7, 12)",
        "  dtype of cls_token int64, expected float64, float32, float16, bfloat16",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_values_must_be_finite(weights: Weights, config: Config, value: float, dtype: str) -> None:
    tensors = writeable(weights)
    tensors["norm.bias"] = tensors["norm.bias"].astype(dtype)
    tensors["norm.bias"][[2, 5]] = value
    with pytest.raises(CheckpointError, match=r"norm\.bias: 2 of 12"):
        Weights(tensors, config)


def test_other_arguments_are_refused(weights: Weights, config: Config) -> None:
    with pytest.raises(ConfigError, match="a mapping of name -> array"):
        Weights([1], config)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a vitref.Preprocessing"):
        Weights(dict(weights), config, preprocessing={"mean": 0})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no array"):
        Weights({**weights, "head.bias": [[1], [2, 3]]}, config)
    with pytest.raises(CheckpointError, match="dtype of head.bias object"):
        Weights({**weights, "head.bias": [None] * 7}, config)
    with pytest.raises(ConfigError, match="a vitref.weights.Source or None"):
        Weights(dict(weights), config, source="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [5, None, b"head.bias", ("head", "bias")])
def test_names_are_text(weights: Weights, config: Config, name: Any) -> None:
    for use in (weights.replace, weights.export, lambda tensors: Weights(tensors, config)):
        with pytest.raises(CheckpointError, match="expected names that are text"):
            use({name: np.zeros(7)})


class Elsewhere:
    """A tensor that cannot be read from here."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: object, **__: object) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [TypeError("on cuda:0"), ValueError("on cuda:0"), RuntimeError("on cuda:0")]
)
def test_a_tensor_that_cannot_be_read(weights: Weights, error: Exception) -> None:
    with pytest.raises(CheckpointError, match=r"head\.bias: found what is no array \(on cuda:0\)"):
        weights.replace({"head.bias": Elsewhere(error)})


def test_a_masked_array_is_refused(weights: Weights) -> None:
    masked = np.ma.masked_array(np.zeros(7), np.arange(7) == 3)
    with pytest.raises(CheckpointError, match="head.bias: found a masked array"):
        weights.replace({"head.bias": masked})


def test_values_that_are_not_finite_are_cut(weights: Weights, config: Config) -> None:
    bad = {name: np.full(array.shape, np.nan, "f4") for name, array in weights.items()}
    with pytest.raises(CheckpointError) as caught:
        Weights(bad, config)
    assert len(caught.value.found.splitlines()) == 1 + 12 + 1
    assert caught.value.found.endswith(f"and {len(weights) - 12} more")


def test_a_config_is_required(weights: Weights) -> None:
    with pytest.raises(ConfigError, match="a vitref.Config"):
        Weights(dict(weights), {"width": 12})  # type: ignore[arg-type]


def test_nobody_can_write(weights: Weights, config: Config) -> None:
    tensors = writeable(weights)
    disguised = tensors["norm.bias"].view()
    disguised.flags.writeable = False
    made = Weights({**tensors, "norm.bias": disguised}, config)
    before = made["norm.bias"].tobytes(), made["head.bias"].tobytes()
    tensors["norm.bias"][:] = 9
    tensors["head.bias"][:] = 9
    assert (made["norm.bias"].tobytes(), made["head.bias"].tobytes()) == before
    with pytest.raises(ValueError, match="read-only"):
        made["head.bias"][0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        made["head.bias"].flags.writeable = True
    with pytest.raises(TypeError):
        made["head.bias"] = tensors["head.bias"]  # type: ignore[index]
    with pytest.raises(AttributeError, match="immutable"):
        made.config = config
    with pytest.raises(AttributeError, match="immutable"):
        del made.source


def test_arrays_of_other_layout_keep_their_values(weights: Weights, config: Config) -> None:
    tensors = writeable(weights)
    tensors["head.weight"] = np.asfortranarray(tensors["head.weight"])
    tensors["norm.bias"] = tensors["norm.bias"].astype(">f4")
    made = Weights(tensors, config)
    assert same_bits(made, weights)
    assert made["head.weight"].flags.c_contiguous


def test_immutable_arrays_are_not_copied(weights: Weights, config: Config) -> None:
    assert np.shares_memory(Weights(dict(weights), config)["head.weight"], weights["head.weight"])


def test_identity_is_equality(weights: Weights, config: Config) -> None:
    assert weights == weights
    assert weights != Weights(dict(weights), config)
    assert {weights: 1}[weights] == 1


@pytest.mark.parametrize("again", [copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w))])
def test_copies_hold_the_same(weights: Weights, again: Any) -> None:
    other = again(weights)
    assert same_bits(other, weights)
    assert (other.config, other.preprocessing, other.source) == (
        weights.config,
        weights.preprocessing,
        weights.source,
    )
    with pytest.raises(ValueError, match="read-only"):
        other["head.bias"][0] = 1


def test_replace(weights: Weights) -> None:
    other = weights.replace({"head.bias": np.arange(7.0)})
    assert other["head.bias"].tolist() == list(range(7))
    assert weights["head.bias"].tolist() != list(range(7))
    assert other["norm.bias"] is weights["norm.bias"]
    assert (other.config, other.preprocessing) == (weights.config, weights.preprocessing)
    with pytest.raises(CheckpointError, match="extra head.gamma"):
        weights.replace({"head.gamma": np.zeros(7)})
    with pytest.raises(CheckpointError, match="misshapen head.bias"):
        weights.replace({"head.bias": np.zeros(8)})
    with pytest.raises(CheckpointError, match="head.bias: 7 of 7"):
        weights.replace({"head.bias": np.full(7, np.nan)})


def test_replaced_tensors_are_not_said_to_be_the_files(weights: Weights, tmp_path: Path) -> None:
    weights.save(tmp_path / "m.safetensors")
    loaded, file = load(tmp_path / "m.safetensors"), str(tmp_path / "m.safetensors")
    one = loaded.replace({"head.bias": np.zeros(7)})
    assert one.source.path == f"{file}, with 1 tensor replaced"
    assert one.source.provenance["head.bias"] == "Weights.replace"
    two = one.replace({"head.bias": np.ones(7), "norm.bias": np.ones(12)})
    assert two.source.path == f"{file}, with 2 tensors replaced"
    assert (loaded.source.path, loaded.replace({}).source.path) == (file, file)
    assert copy.deepcopy(two).source == two.source
    two.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.source.path == file
    assert set(again.source.provenance) == set(loaded.source.provenance)
    assert weights.replace({"head.bias": np.zeros(7)}).source.path is None


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_to_rounds_each_tensor_once(weights: Weights, dtype: str) -> None:
    other = weights.to("numpy", dtype=dtype)
    for name, array in weights.items():
        assert other[name].dtype == np.dtype(dtype)
        assert other[name].tobytes() == array.astype(dtype).tobytes()
    assert other.to(dtype=dtype) is other


def test_to_keeps_dtypes_when_none_is_named(weights: Weights) -> None:
    mixed = weights.replace({"head.bias": weights["head.bias"].astype(ml_dtypes.bfloat16)})
    assert mixed.to(backends.get("numpy")) is mixed


def test_to_refuses_what_it_does_not_know(weights: Weights) -> None:
    with pytest.raises(BackendError, match="int8"):
        weights.to(dtype="int8")
    with pytest.raises(BackendError, match="abacus"):
        weights.to("abacus")
    with pytest.raises(CheckpointError, match="head.bias: 7 of 7"):
        weights.replace({"head.bias": np.full(7, 1e9)}).to(dtype="float16")


@pytest.mark.parametrize("format", [None, "timm", "vitref"])
def test_export_then_load_gives_the_same_bits(weights: Weights, tmp_path: Path, format: str | None) -> None:
    exported = weights.export(format=format)
    save_tensors(tmp_path / "f.safetensors", exported, {})
    fields = {
        n: v for n, v in weights.config.to_dict().items() if n in ("heads", "eps", "activation", "pool")
    }
    fields |= {"position_grid": (3, 4)}
    again = load(tmp_path / "f.safetensors", format=format, preprocessing=weights.preprocessing, **fields)
    assert same_bits(again, weights)
    assert again.config == weights.config


def test_export_takes_any_arrays_with_the_models_names(weights: Weights) -> None:
    gradients = {"norm.bias": np.ones(12), "head.bias": np.zeros(7)}
    assert weights.export(gradients) == gradients
    with pytest.raises(CheckpointError, match="norm.beta"):
        weights.export({"norm.beta": np.ones(12)})
    with pytest.raises(CheckpointError, match=r"norm\.bias \(13,\)"):
        weights.export({"norm.bias": np.ones(13)})
    with pytest.raises(ConfigError, match="one of timm, huggingface, google, vitref"):
        weights.export(format="keras")


def test_save_then_load_needs_nothing_else(weights: Weights, tmp_path: Path) -> None:
    mixed = weights.replace(
        {
            "head.bias": weights["head.bias"].astype(ml_dtypes.bfloat16),
            "head.weight": weights["head.weight"].astype("f8") / 3,
        }
    )
    mixed.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert same_bits(again, mixed)
    assert (again.config, again.preprocessing) == (mixed.config, mixed.preprocessing)
    assert again.source.path == str(tmp_path / "a.safetensors")
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_saving_keeps_provenance_once_and_foreign_metadata(
    weights: Weights, config: Config, tmp_path: Path
) -> None:
    source = Source("old", "timm", {"eps": "argument eps=1e-06"}, {"format": "pt"})
    path = tmp_path / "a.safetensors"
    Weights(dict(weights), config, source=source).save(path)
    load(path).save(path)
    again = load(path)
    assert again.source.provenance["eps"] == "metadata of a.safetensors; there: argument eps=1e-06"
    assert again.source.provenance["heads"] == "metadata of a.safetensors"
    assert dict(again.source.metadata) == {"format": "pt"}
    assert again.source.format == "timm"
    assert again.preprocessing is None


def test_saving_where_there_is_no_folder_is_refused(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Create the folder"):
        weights.save(tmp_path / "missing" / "a.safetensors")


def test_the_digest_is_of_names_dtypes_shapes_and_values_alone(
    weights: Weights, recipe: Preprocessing, tmp_path: Path
) -> None:
    digest = weights.source.sha256
    weights.save(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert load(tmp_path / "b.safetensors", mean=0.7).source.sha256 == digest
    assert Weights(dict(sorted(weights.items())), weights.config).source.sha256 == digest
    assert weights.to(dtype="float64").source.sha256 != digest
    changed = weights["head.bias"].copy()
    changed[0] = np.nextafter(changed[0], np.float32(9))
    assert weights.replace({"head.bias": changed}).source.sha256 != digest
    bias, scale = weights["norm.bias"], weights["norm.weight"]
    assert weights.replace({"norm.bias": scale, "norm.weight": bias}).source.sha256 != digest
    assert len(digest) == 64


def test_the_digest_tells_dtypes_and_shapes_of_equal_bytes_apart() -> None:
    bits = np.arange(6, dtype=np.uint16)
    arrays = [bits.view("f2"), bits.view(ml_dtypes.bfloat16), bits.view("f2").reshape(2, 3)]
    digests = [Source(tensors={"a": array, "b": bits}).sha256 for array in arrays]
    assert len(set(digests)) == 3
    assert Source(tensors={"b": bits, "a": arrays[0]}).sha256 == digests[0]


RECORD = {"version": 1, "format": "timm", "config": {}, "preprocessing": None, "provenance": {}}


@pytest.mark.parametrize(
    "record",
    [
        "no json",
        "[]",
        "3",
        "{}",
        json.dumps({**RECORD, "config": []}),
        json.dumps({**RECORD, "config": {"hidden": 3}}),
        json.dumps({**RECORD, "format": None}),
        json.dumps({**RECORD, "preprocessing": {"crop": 3}}),
        json.dumps({**RECORD, "provenance": {"eps": 3}}),
        json.dumps({**RECORD, "version": 2}),
        json.dumps({**RECORD, "version": "1"}),
    ],
)
def test_a_damaged_record_is_refused(weights: Weights, tmp_path: Path, record: str) -> None:
    path = tmp_path / "a.safetensors"
    weights.save(path)
    tensors, _ = load_tensors(path)
    save_tensors(path, tensors, {"vitref": record})
    with pytest.raises(CheckpointError, match="metadata vitref"):
        load(path)


def test_repr_says_how_large_and_from_where(weights: Weights) -> None:
    assert (
        repr(weights)
        == f"<Weights: 32 tensors, {sum(a.size for a in weights.values()):,} parameters, from vitref>"
    )
