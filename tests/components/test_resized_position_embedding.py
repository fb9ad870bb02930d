"""Resizing a position table beside the Kronecker product of its two matrices, and equal sizes."""

import numpy as np

from vitref.array import HostArray
from vitref.components import position_embedding, resized_position_embedding
from vitref.testing import tolerance

RNG = np.random.default_rng(0)
ROWS, COLUMNS = RNG.standard_normal((4, 2)), RNG.standard_normal((3, 5))
"""A grid of 2 x 5 to one of 4 x 3."""


def whole(prefix: int) -> HostArray:
    """One matrix for all places: the prefix rows as they are, the others by kron(A, B)."""
    matrix = np.zeros((prefix + 12, prefix + 10))
    matrix[:prefix, :prefix] = np.eye(prefix)
    matrix[prefix:, prefix:] = np.kron(ROWS, COLUMNS)
    return matrix


def test_places_are_resized_by_the_kronecker_product() -> None:
    for prefix in (0, 1, 2):
        x, table = RNG.standard_normal((2, prefix + 12, 3)), RNG.standard_normal((1, prefix + 10, 3))
        y, saved = resized_position_embedding.forward(x, table, rows=ROWS, columns=COLUMNS, prefix=prefix)
        assert np.max(np.abs(y - x - whole(prefix) @ table)) <= 10 * tolerance("float64", 10)
        dtable = resized_position_embedding.backward(y, saved).table
        expected = whole(prefix).T @ np.sum(y, axis=0, keepdims=True)
        assert np.max(np.abs(dtable - expected)) <= tolerance("float64", 24) * np.max(np.abs(expected))


def test_with_identity_matrices_it_is_the_plain_position_embedding() -> None:
    x, table = RNG.standard_normal((2, 7, 3)), RNG.standard_normal((1, 7, 3))
    y, saved = resized_position_embedding.forward(x, table, rows=np.eye(2), columns=np.eye(3), prefix=1)
    plain, _ = position_embedding.forward(x, table)
    assert np.array_equal(y, plain)
    for mine, theirs in zip(
        resized_position_embedding.backward(x, saved), position_embedding.backward(x, None), strict=True
    ):
        assert np.array_equal(mine, theirs)
