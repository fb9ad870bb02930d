"""Fresh weights: timm's distributions, and a tensor that depends on seed, name and shape only."""

import dataclasses
import math

import numpy as np
import pytest

from vitref.config import Config
from vitref.errors import BackendError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights, init, load


@pytest.fixture
def large() -> Config:
    return Config.variant("ViT-Ti/16", convention="timm", depth=2)


def test_distributions(large: Config) -> None:
    weights = init(large, 3)
    for name, array in weights.items():
        values = array.astype("f8").reshape(-1)
        error = 5 / math.sqrt(values.size)
        if name.startswith("patch_embed."):
            bound = 1 / math.sqrt(3 * 16 * 16)
            assert abs(values).max() <= bound
            assert abs(values.std() / (bound / math.sqrt(3)) - 1) < error
        elif name == "cls_token" or array.ndim > 1:
            std = 1e-6 if name == "cls_token" else 0.02
            assert abs(values.std() / std - 1) < error
            assert abs(values.mean() / std) < error
        else:
            assert set(values) == ({1.0} if "norm" in name and name.endswith("weight") else {0.0})


def test_a_tensor_depends_on_seed_name_and_shape_only(large: Config) -> None:
    one, deeper = init(large, 3), init(dataclasses.replace(large, depth=3, classes=10), 3)
    for name in set(one) - {"head.weight", "head.bias"}:
        assert one[name].tobytes() == deeper[name].tobytes()
    assert one["pos_embed"].tobytes() != init(large, 4)["pos_embed"].tobytes()
    assert one["blocks.0.attn.proj.weight"].tobytes() != one["blocks.1.attn.proj.weight"].tobytes()


def test_the_values_stay_those_of_the_first_release(config: Config) -> None:
    first = init(config, 0, dtype="float64")["head.weight"][0, :2]
    expected = np.random.default_rng([0, 2154464288]).normal(0, 0.02, 2)
    assert first.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_other_dtypes_are_rounded_from_the_same_draw(config: Config, dtype: str) -> None:
    exact = init(config, 1, dtype="float64")
    for name, array in init(config, 1, dtype=dtype).items():
        assert array.tobytes() == exact[name].astype(dtype).tobytes()


def test_source_and_saving(config: Config, recipe: Preprocessing, tmp_path: object) -> None:
    weights = init(config, 1, preprocessing=recipe)
    assert (weights.source.format, weights.source.path) == ("init", None)
    assert weights.source.provenance["heads"] == "argument config"
    assert weights.source.provenance["mean"] == "argument preprocessing"
    weights.save(f"{tmp_path}/a.safetensors")
    again = load(f"{tmp_path}/a.safetensors")
    assert (again.config, again.preprocessing, again.source.format) == (config, recipe, "vitref")
    assert again.source.sha256 == weights.source.sha256
    assert isinstance(again, Weights)


@pytest.mark.parametrize("seed", [-1, 1.0, None, True, "1"])
def test_a_seed_is_a_whole_number(config: Config, seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        init(config, seed)


def test_wrong_config_and_dtype(config: Config) -> None:
    with pytest.raises(ConfigError, match="a vitref.Config"):
        init({"width": 3}, 0)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="int8"):
        init(config, 0, dtype="int8")
