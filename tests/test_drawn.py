"""Small models drawn from a seed: the same bits everywhere, and nothing in them that would hide a mistake."""

import hashlib
import zlib

import ml_dtypes
import numpy as np
import pytest

import vitref
from vitref import drawn, masks
from vitref.drawn import Drawn


@pytest.fixture(scope="module")
def model() -> Drawn:
    return drawn.draw("tiny-test", 0)


def test_bits_are_these(model: Drawn) -> None:
    digest = hashlib.sha256(model.image.tobytes() + model.labels.tobytes())
    assert digest.hexdigest() == "fdf589ecf9680e0a082b7e86d5d1ffd7bd33c6745acf4a951266839304296204"
    assert model.weights.source.sha256 == "46d2b588f58a7a31126969fc34e4a50e8b974ecfb8fce2cc41977f829899782d"


def test_an_element_is_what_the_docstring_says() -> None:
    seed, i = 3 + (5 << 32), 6
    counter = np.array([i // 4, 0, zlib.crc32(b"norm.bias"), 2**32 - 1], np.uint32)
    word = int(masks.philox(counter, np.array([3, 5], np.uint32))[i % 4])
    assert drawn.uniform(seed, "norm.bias", (9,))[i] == (2 * (word // 256) + 1) / 2**24 - 1


def test_every_number_is_a_float32_number(model: Drawn) -> None:
    for array in (*model.weights.values(), model.image):
        assert array.dtype == np.float64
        assert np.array_equal(array.astype(np.float32), array)


def test_weights_in_bfloat16_are_other_weights(model: Drawn) -> None:
    assert not any(np.array_equal(a.astype(ml_dtypes.bfloat16), a) for a in model.weights.values())


def test_no_parameter_is_zero_one_or_constant(model: Drawn) -> None:
    for array in model.weights.values():
        assert not np.any((array == 0) | (array == 1))
        assert len(np.unique(array)) > array.size / 2


def test_model_hides_no_mixed_up_layout(model: Drawn) -> None:
    config = model.weights.config
    for rows, columns in (config.image_size, config.patch_size, config.grid):
        assert rows != columns
    lengths = [config.width, config.heads, config.head_dim, config.mlp_width, config.tokens, config.classes]
    assert len(set(lengths)) == len(lengths)
    assert config.heads % 2 == 1
    assert len(model.image) == len(model.labels) == 2
    assert config.parameters < 6000


def test_another_seed_is_another_model(model: Drawn) -> None:
    other = drawn.draw("tiny-test", 1)
    assert not any(np.array_equal(other.weights[name], model.weights[name]) for name in model.weights)
    assert not np.array_equal(other.image, model.image)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True])
def test_wrong_seed_is_refused(seed: int) -> None:
    with pytest.raises(vitref.ConfigError, match="seed: found"):
        drawn.draw("tiny-test", seed)


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(vitref.ConfigError, match="one of tiny-test"):
        drawn.draw("ViT-B/16", 0)
