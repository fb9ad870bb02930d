"""Changes of the tensors of a model, of which the mistakes of loaders are made."""

from collections.abc import Callable

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.verify.mistakes.mistake import Tensors

Change = Callable[[HostArray, Config], HostArray]
Loader = Callable[[Tensors, Config], Tensors]


def each(ends: str | tuple[str, ...], change: Change) -> Loader:
    """Every tensor whose name ends so, changed."""
    return lambda tensors, config: {
        name: change(array, config) for name, array in tensors.items() if name.endswith(ends)
    }


def zeros(*ends: str) -> Loader:
    return each(ends, lambda array, config: np.zeros_like(array))


def ones(*ends: str) -> Loader:
    return each(ends, lambda array, config: np.ones_like(array))


def rows(change: Change) -> Loader:
    """The rows of the fused projection, and of its bias, changed alike."""
    return each((".qkv.weight", ".qkv.bias"), change)


def ordered(*parts: int) -> Change:
    """The three blocks of a fused projection in another order."""
    return lambda array, config: np.concat([np.split(array, 3)[part] for part in parts])


def without(*parts: int) -> Change:
    """Zero in the place of some of the three blocks of a fused projection."""
    return lambda array, config: np.concat(
        [np.zeros_like(block) if part in parts else block for part, block in enumerate(np.split(array, 3))]
    )


def blocks_from(source: Callable[[int, int], int]) -> Loader:
    """Block i filled with the tensors of block source(i, depth)."""

    def load(tensors: Tensors, config: Config) -> Tensors:
        origins = {i: source(i, config.depth) for i in range(config.depth)}
        return {
            name: tensors[name.replace(f"blocks.{i}.", f"blocks.{origin}.", 1)]
            for i, origin in origins.items()
            for name in tensors
            if name.startswith(f"blocks.{i}.") and origin != i
        }

    return load


def renamed(old: str, new: str) -> Loader:
    """The tensors of `new` in the place of those of `old`, in every block."""
    return lambda tensors, config: {
        name: tensors[name.replace(f".{old}.", f".{new}.")] for name in tensors if f".{old}." in name
    }
