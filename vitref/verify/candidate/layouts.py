"""Layouts: how other libraries lay out what the taps hold, as changes to vitref's axes.

A layout is a function (array, config) -> array that rearranges and never computes. An array of a rank or
size that is not the library's is returned as it is: its shape is reported later, beside the one expected.
"""

from collections.abc import Callable
from typing import TypeAlias

from vitref.array import HostArray
from vitref.config import Config

Layout: TypeAlias = Callable[[HostArray, Config], HostArray]


def same(array: HostArray, config: Config) -> HostArray:
    """As it is."""
    return array


def channels_first(array: HostArray, config: Config) -> HostArray:
    """(N, D, rows, columns), as a convolution of torch returns -> tokens (N, T, D)."""
    if array.ndim != 4:
        return array
    batch, width, rows, columns = array.shape
    return array.reshape(batch, width, rows * columns).transpose(0, 2, 1)


def channels_last(array: HostArray, config: Config) -> HostArray:
    """(N, rows, columns, D), as a convolution of flax returns -> tokens (N, T, D)."""
    if array.ndim != 4:
        return array
    batch, rows, columns, width = array.shape
    return array.reshape(batch, rows * columns, width)


def joined_heads(array: HostArray, config: Config) -> HostArray:
    """(N, T, heads d) -> (N, heads, T, d)."""
    if array.ndim != 3 or array.shape[2] != config.heads * config.head_dim:
        return array
    batch, tokens, _ = array.shape
    return array.reshape(batch, tokens, config.heads, config.head_dim).transpose(0, 2, 1, 3)


def tokens_first(array: HostArray, config: Config) -> HostArray:
    """(N, T, heads, d) -> (N, heads, T, d)."""
    return array.transpose(0, 2, 1, 3) if array.ndim == 4 else array
