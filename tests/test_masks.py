"""Dropout and DropPath bits: Philox against its authors' test vectors, and what a bit depends on."""

import zlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitref.errors import ConfigError
from vitref.masks import Train, philox

Array = npt.NDArray[Any]

PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Counter, key and result: the lines "philox4x32 10" of kat_vectors in the authors' Random123."""


def words(text: str) -> Array:
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize(("counter", "key", "result"), PUBLISHED)
def test_philox_is_that_of_its_authors(counter: str, key: str, result: str) -> None:
    assert philox(words(counter), words(key)).tolist() == words(result).tolist()


def test_counters_do_not_see_each_other() -> None:
    """Under the key of the last published vector: its counter anywhere among others gives its result."""
    counter, key, result = map(words, PUBLISHED[2])
    counters = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    counters[1, 2] = counter
    found = philox(counters, key)
    assert found.dtype == np.uint32
    assert found[1, 2].tolist() == result.tolist()
    assert found[0, 1].tolist() == philox(counters[0, 1], key).tolist()


def by_hand(train: Train, path: str, image: int, place: int, rate: float) -> bool:
    """One bit with Python's integers: word place mod 4 of counter (place / 4, image, path, step)."""
    counter = [place // 4, train.first + image, zlib.crc32(path.encode()), train.step]
    key = [train.seed % 2**32, train.seed // 2**32]
    for round_ in range(10):
        k0, k1 = key[0] + 0x9E3779B9 * round_, key[1] + 0xBB67AE85 * round_
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = [high1 ^ counter[1] ^ k0 % 2**32, low1, high0 ^ counter[3] ^ k1 % 2**32, low0]
    return counter[place % 4] >= rate * 2**32


def test_every_bit_is_where_the_definition_puts_it() -> None:
    train = Train(seed=2**40 + 17, step=3, first=2**32 - 9)
    mask = train.mask("blocks.1.mlp.drop1", (3, 5, 7), 0.3)
    assert mask.dtype == np.float64
    assert mask.shape == (3, 5, 7)
    for image, place in np.ndindex(3, 35):
        expected = by_hand(train, "blocks.1.mlp.drop1", image, place, 0.3)
        assert mask[image].flat[place] == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**31), st.integers(1, 6), st.data())
def test_any_split_of_a_batch_has_the_same_bits(seed: int, first: int, n: int, data: st.DataObject) -> None:
    inner = data.draw(st.lists(st.integers(1, 5), max_size=3))
    at = data.draw(st.integers(0, n))
    train = Train(seed=seed, first=first)
    whole = train.mask("pos_drop", (n, *inner), 0.5)
    parts = [
        replace(train, first=first + start).mask("pos_drop", (images, *inner), 0.5)
        for start, images in ((0, at), (at, n - at))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


SHAPE = (4, 50, 21)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_as_much_is_dropped_as_the_rate_says(rate: float, seed: int) -> None:
    """Within five deviations, for all elements, for each image and for each place in a word of four."""
    dropped = 1 - Train(seed=seed).mask("pos_drop", SHAPE, rate)
    flat = dropped.reshape(len(dropped), -1)
    for bits in (flat, *flat, *(flat[:, place::4] for place in range(4))):
        assert abs(np.mean(bits) - rate) < 5 * np.sqrt(rate * (1 - rate) / bits.size)


@pytest.mark.parametrize(
    "other",
    [{"seed": 6}, {"seed": 5 + 2**32}, {"step": 8}, {"first": 4}, {"path": "blocks.1.mlp.drop2"}],
    ids=str,
)
def test_other_settings_give_independent_bits(other: dict[str, Any]) -> None:
    """They agree at half of the places, within five deviations; so do neighbouring images."""
    train, path = Train(seed=5, step=7), "blocks.1.mlp.drop1"
    changed = replace(train, **{name: value for name, value in other.items() if name != "path"})
    mask = train.mask(path, SHAPE, 0.5)
    for a, b in ((mask, changed.mask(other.get("path", path), SHAPE, 0.5)), (mask[1:], mask[:-1])):
        assert abs(np.mean(a == b) - 0.5) < 5 * 0.5 / np.sqrt(a.size)


def test_neighbouring_places_are_independent() -> None:
    mask = Train(seed=1).mask("pos_drop", (1, 40_000), 0.5)[0] - 0.5
    for lag in (1, 2, 3, 4, 5, 8, 197, 768):
        assert abs(np.mean(4 * mask[lag:] * mask[:-lag])) < 5 / np.sqrt(len(mask) - lag)


def test_a_larger_rate_drops_all_that_a_smaller_one_drops() -> None:
    low, high = (Train().mask("pos_drop", SHAPE, rate) for rate in (0.2, 0.4))
    assert (high <= low).all()
    assert (high < low).any()


def test_rate_zero_keeps_everything() -> None:
    assert Train(seed=9).mask("pos_drop", SHAPE, 0.0).all()


@pytest.mark.parametrize("shape", [(3,), (1, 1), (2, 5), (2, 3, 7), (1, 2, 3, 5), (0, 4), (2, 0)])
def test_shapes_of_any_size(shape: tuple[int, ...]) -> None:
    """The first elements of an image are the same, however many follow."""
    mask = Train(seed=3).mask("x", shape, 0.5)
    longer = Train(seed=3).mask("x", (shape[0], 100), 0.5)
    assert mask.shape == shape
    size = int(np.prod(shape[1:]))
    np.testing.assert_array_equal(mask.reshape(shape[0], size), longer[:, :size])


def test_no_two_steps_of_a_model_share_their_bits() -> None:
    """A path enters as its CRC-32, which might collide: it does not for models of a hundred blocks."""
    steps = ("attn.attn_drop", "attn.proj_drop", "drop_path1", "mlp.drop1", "mlp.drop2", "drop_path2")
    paths = ["pos_drop", "head_drop", *(f"blocks.{i}.{step}" for i in range(100) for step in steps)]
    assert len({zlib.crc32(path.encode()) for path in paths}) == len(paths)


TIMM = {
    (0.1, 12): [
        0.0, 0.00909090880304575, 0.0181818176060915, 0.027272727340459824, 0.036363635212183,
        0.045454543083906174, 0.054545458406209946, 0.06363636255264282, 0.0727272778749466,
        0.08181818574666977, 0.09090909361839294, 0.10000000149011612,
    ],
    (0.4, 3): [0.0, 0.20000000298023224, 0.4000000059604645],
    (0.4, 1): [0.0],
}  # fmt: skip
"""(drop_path_rate, depth) -> timm.layers.calculate_drop_path_rates of timm 1.0.31, computed in float32."""


@pytest.mark.parametrize(("rate", "depth"), TIMM)
def test_drop_path_grows_as_in_timm(rate: float, depth: int) -> None:
    found = [Train(drop_path=rate).drop_path_of(block, depth) for block in range(depth)]
    assert found == pytest.approx(TIMM[rate, depth], rel=2**-23)


REFUSED: list[tuple[str, Any]] = [
    *((name, rate) for name in ("dropout", "attention_dropout", "drop_path") for rate in (1, 1.0, -0.1)),
    ("dropout", "0.1"), ("dropout", True), ("drop_path", None), ("drop_path", float("nan")),
    ("dropout", np.True_), ("dropout", np.float32(1)), ("drop_path", np.float32("nan")),
    ("dropout", np.zeros(1)), ("step", np.False_), ("step", np.float32(1)), ("first", np.int64(-1)),
    ("seed", -1), ("seed", 2**64), ("seed", 1.0), ("seed", True),
    ("step", -1), ("step", 2**32), ("first", -1), ("first", 2**32), ("first", None),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_a_wrong_setting_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Train.{field}: found ") as caught:
        Train(**{field: value})
    assert caught.value.where == f"Train.{field}"


def test_no_image_lies_beyond_the_counter() -> None:
    """An index of 2^32 would be 0 again, and the image would have the bits of the first one."""
    train = Train(seed=5, first=2**32 - 2)
    assert train.mask("pos_drop", (2, 3), 0.5).shape == (2, 3)
    with pytest.raises(ConfigError, match=r"Train.first: found 4294967294; .*call of 3 images"):
        train.mask("pos_drop", (3, 3), 0.5)


def test_numbers_of_numpy_become_plain() -> None:
    given = {"dropout": np.float32(0.5), "drop_path": np.float64(0.25), "attention_dropout": np.int64(0)}
    train = Train(**given, seed=np.uint64(2**64 - 1), step=np.int64(3), first=np.uint8(4))  # type: ignore[arg-type]
    assert train == Train(dropout=0.5, drop_path=0.25, seed=2**64 - 1, step=3, first=4)
    assert [type(value) for value in asdict(train).values()] == [float, float, float, int, int, int]
    assert train.mask("pos_drop", (1, 3), 0.5).shape == (1, 3)


def test_settings_at_their_limits() -> None:
    train = Train(dropout=0, drop_path=0.999, seed=2**64 - 1, step=2**32 - 1, first=2**32 - 1)
    assert train.mask("x", (1, 3), 0.999).shape == (1, 3)
