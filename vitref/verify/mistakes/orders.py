"""Other orders of the patches of a grid, and of what a mistake takes in such an order.

An order is a list: place in the sequence -> the patch, counted along the rows, that stands there.
"""

from collections.abc import Callable, Iterable

from vitref.array import Array, Namespace

Order = Callable[[int, int], list[int]]


def serpentine(rows: int, columns: int) -> list[int]:
    """Every second row from right to left."""
    lines = [list(range(row * columns, (row + 1) * columns)) for row in range(rows)]
    return [patch for row, line in enumerate(lines) for patch in (line[::-1] if row % 2 else line)]


def backwards(rows: int, columns: int) -> list[int]:
    """From the last patch to the first."""
    return list(range(rows * columns))[::-1]


def mirrored(rows: int, columns: int) -> list[int]:
    """Every row from right to left."""
    return [row * columns + column for row in range(rows) for column in reversed(range(columns))]


def upside_down(rows: int, columns: int) -> list[int]:
    """The rows from bottom to top."""
    return [row * columns + column for row in reversed(range(rows)) for column in range(columns)]


def in_blocks(rows: int, columns: int) -> list[int]:
    """Block after block of 2 by 2 patches, smaller ones at the right and at the bottom."""
    places = sorted((row // 2, column // 2, row, column) for row in range(rows) for column in range(columns))
    return [row * columns + column for _, _, row, column in places]


def down_columns(rows: int, columns: int) -> list[int]:
    """Column after column."""
    return [row * columns + column for column in range(columns) for row in range(rows)]


def inverse(order: Iterable[int]) -> list[int]:
    """Patch -> its place."""
    return [place for _, place in sorted((patch, place) for place, patch in enumerate(order))]


def taken(x: Array, order: Iterable[int], xp: Namespace) -> Array:
    """x (N, patches, ...) with its patches in this order."""
    return xp.concat([x[:, i : i + 1, ...] for i in order], axis=1)
