"""Dropout and DropPath bits, and the settings of a training pass.

A bit depends on nothing but (seed, step, path, index of the image in the whole batch, index within
the image's tensor): it is the same on every backend, in any order, and for any split of a batch.
The generator is Philox4x32-10, a counter-based generator of integer operations only: key = (seed),
counter = (index / 4, image, path and step); each counter gives four words of 32 bits. Source: Salmon,
Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", doi:10.1145/2063384.2063405.
"""

import math
import numbers
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitref.errors import ConfigError

Words = npt.NDArray[np.uint32]

ROUNDS = 10
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)


@dataclass(frozen=True, kw_only=True)
class Train:
    """What makes a pass a training pass: rates of what is dropped, and what the bits depend on.

    dropout            after the position embedding, the attention projection, both linear layers of
                       the MLP, and before the head
    attention_dropout  of the attention weights
    drop_path          of whole branches: 0 in the first block, growing linearly to this in the last
    seed               whole number from 0 to 2^64 - 1
    step               of the optimiser: whole number from 0 to 2^32 - 1
    first              index, in the whole batch, of the first image of this call

    `first` and the images of a call together may not exceed 2^32: images would share their bits.

    Raises ConfigError when a rate is not in 0 <= rate < 1 or a number is out of range. Source:
    timm/models/vision_transformer.py (pos_drop, attn_drop, proj_drop, mlp.drop, head_drop, drop_path).
    """

    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    seed: int = 0
    step: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        for name in ("dropout", "attention_dropout", "drop_path"):
            rate = getattr(self, name)
            number = isinstance(rate, (int, float, np.integer, np.floating)) and not isinstance(rate, bool)
            if not number or not 0 <= rate < 1:
                raise _wrong(name, rate, "a number of at least 0 and below 1")
            object.__setattr__(self, name, float(rate))
        for name, bits in (("seed", 64), ("step", 32), ("first", 32)):
            number = getattr(self, name)
            whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
            if not whole or not 0 <= number < 2**bits:
                raise _wrong(name, number, f"a whole number from 0 to 2^{bits} - 1")
            object.__setattr__(self, name, int(number))

    def drop_path_of(self, block: int, depth: int) -> float:
        """The rate of this block."""
        return self.drop_path * block / (depth - 1) if depth > 1 else 0.0

    def mask(self, path: str, shape: tuple[int, ...], rate: float) -> npt.NDArray[np.float64]:
        """1 where kept, 0 where dropped (with probability `rate`); the first axis counts images.

        Raises ConfigError when an image has an index of 2^32 or more.

        >>> train = Train(dropout=0.5, seed=1)
        >>> whole = train.mask("blocks.0.mlp.drop1", (4, 3), 0.5)
        >>> part = Train(dropout=0.5, seed=1, first=2).mask("blocks.0.mlp.drop1", (2, 3), 0.5)
        >>> bool((whole[2:] == part).all())
        True
        """
        images, size = shape[0], math.prod(shape[1:])
        if self.first + images > 2**32:
            expected = f"at most 2^32 - {images} for a call of {images} images"
            raise _wrong("first", self.first, expected)
        counters = np.empty((images, -(-size // 4), 4), np.uint32)
        counters[..., 0] = np.arange(counters.shape[1], dtype=np.uint32)
        counters[..., 1] = (self.first + np.arange(images, dtype=np.uint64)[:, None]).astype(np.uint32)
        counters[..., 2] = zlib.crc32(path.encode())
        counters[..., 3] = self.step
        key = np.array([self.seed & 0xFFFFFFFF, self.seed >> 32], np.uint32)
        words = philox(counters, key).reshape(images, 4 * counters.shape[1])[:, :size]
        return (words >= round(rate * 2**32)).astype(np.float64).reshape(shape)


def philox(counters: Words, key: Words) -> Words:
    """Philox4x32-10 of counters (..., 4) under a key (2,): words (..., 4).

    >>> ones = np.full(4, 0xFFFFFFFF, np.uint32)          # a test vector of the authors' Random123
    >>> [f"{word:08x}" for word in philox(ones, ones[:2])]
    ['408f276d', '41c83b0e', 'a20bc7c6', '6d5451fd']
    """
    x0, x1, x2, x3 = (counters[..., i].astype(np.uint64) for i in range(4))
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(ROUNDS):
        p0, p1 = x0 * MULTIPLIERS[0], x2 * MULTIPLIERS[1]
        x0, x1, x2, x3 = (p1 >> 32) ^ x1 ^ k0, p1 & low, (p0 >> 32) ^ x3 ^ k1, p0 & low
        k0, k1 = (k0 + WEYL[0]) & low, (k1 + WEYL[1]) & low
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"Train.{name}", found=repr(value), expected=expected, remedy=f"Give another {name}=.")
