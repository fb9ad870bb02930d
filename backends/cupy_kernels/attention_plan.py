"""Which attention kernel runs, with how many threads and how much shared memory: arithmetic on sizes alone.

The formulas for shared memory are those at the top of each kernel in cuda/attention_*.cuh.
"""

from functools import cache
from typing import NamedTuple

from vitref.backends.cupy_kernels.device import ceil_div

WIDTHS = (32, 64, 80, 96, 128)
"""Widths of a head for which there are kernels; a narrower head is padded with zeros in shared memory."""

SHARED_LIMIT = 227 * 1024
"""Bytes of shared memory for one block on sm_90 and sm_100; 163 KiB on sm_80, 99 KiB on sm_86 and sm_89."""

RESIDENT = {208: 128, 272: 208}
"""For 16-bit storage: a kernel that keeps up to so many keys in shared memory -> for more than so many."""

SHORT, SHORT_WIDTH = 208, 64
"""For 16-bit storage: up to so many rows and columns one backward kernel takes a whole head at once."""

LONG = 512
"""From so many rows on a block has eight warps where they fit."""

STRICT_ROWS = 64
"""Of a block and of a tile of the kernels without tensor cores."""


class Plan(NamedTuple):
    """kernel: its name; blocks per head; threads per block; bytes of dynamic shared memory."""

    kernel: str
    blocks: int
    threads: int
    shared: int


def padded(width: int) -> int | None:
    """The width of the kernels that take heads of this width; None when they are too wide."""
    return next((known for known in WIDTHS if width <= known), None)


@cache
def forward(storage: str, math: str, width: int, queries: int, keys: int, limit: int) -> Plan | None:
    """The forward kernel for heads of this many rows; None when no kernel fits.

    storage   "bf16", "f16" or "f32"
    math      how f32 is multiplied: "strict", "tf32" or "fp32x3"
    width     one of WIDTHS
    limit     bytes of shared memory that a block may have
    """
    if storage == "f32" and math == "strict":
        return _strict("attention_forward_strict_f32", queries, limit, width, tiles=3)
    if storage != "f32":
        for most, more_than in RESIDENT.items():
            found = _resident(storage, width, most, limit) if more_than < keys <= most else None
            if found:
                return found
    row = _row_bytes(storage, width)
    name = f"attention_forward_{_kind(storage, math)}"
    return _tiled(name, queries, limit, fixed=4 * _tile(storage) * row, per_warp=16 * row)


@cache
def backward(
    storage: str, math: str, width: int, queries: int, keys: int, limit: int
) -> tuple[Plan, ...] | None:
    """The backward kernels in their order: one, or that of the queries and that of the keys."""
    found: tuple[Plan | None, ...]
    if storage == "f32" and math == "strict":
        found = (
            _strict("attention_backward_queries_strict_f32", queries, limit, width, tiles=4),
            _strict("attention_backward_keys_strict_f32", keys, limit, width, tiles=4, scores=True),
        )
    else:
        whole = _whole_head(storage, width, max(queries, keys), limit)
        found = (whole,) if whole else _two_passes(storage, math, width, queries, keys, limit)
    plans = tuple(plan for plan in found if plan)
    return plans if len(plans) == len(found) else None


def _kind(storage: str, math: str) -> str:
    return f"{math}_f32" if storage == "f32" else storage


def _row_bytes(storage: str, width: int) -> int:
    """Of a row in shared memory, which has eight elements more."""
    return (width + 8) * (4 if storage == "f32" else 2)


def _tile(storage: str) -> int:
    """Rows in a tile of the side that a block meets bit by bit."""
    return 32 if storage == "f32" else 64


def _resident(storage: str, width: int, most: int, limit: int) -> Plan | None:
    """Keys and values of a head in shared memory; eight warps where only one such block fits, and may."""
    row = _row_bytes(storage, width)
    four, eight = (2 * most * row + 16 * warps * row for warps in (4, 8))
    if width >= 96 and eight <= limit < 2 * four:
        return Plan(f"attention_forward_{most}_{storage}", 1, 256, eight)
    return Plan(f"attention_forward_{most}_{storage}", 1, 128, four) if four <= limit else None


def _whole_head(storage: str, width: int, rows: int, limit: int) -> Plan | None:
    """A warp for every 16 rows; q, k, v, dy in 16 bits, dq in 32, and two numbers per row."""
    if storage == "f32" or width > SHORT_WIDTH or rows > SHORT:
        return None
    warps = ceil_div(rows, 16)
    shared = 16 * warps * ((4 + 2) * _row_bytes(storage, width) + 8)
    return Plan(f"attention_backward_{SHORT}_{storage}", 1, 32 * warps, shared) if shared <= limit else None


def _two_passes(
    storage: str, math: str, width: int, queries: int, keys: int, limit: int
) -> tuple[Plan | None, Plan | None]:
    row, kind = _row_bytes(storage, width), _kind(storage, math)
    tiles, numbers = 4 * _tile(storage) * row, 4 * _tile(storage) * 4
    return (
        _tiled(f"attention_backward_queries_{kind}", queries, limit, tiles, per_warp=32 * row),
        _tiled(f"attention_backward_keys_{kind}", keys, limit, tiles + numbers, per_warp=32 * row),
    )


def _tiled(name: str, rows: int, limit: int, fixed: int, per_warp: int) -> Plan | None:
    """A kernel whose warps take 16 rows each and share tiles of the other side."""
    for warps in (8, 4, 2, 1):
        shared = fixed + warps * per_warp
        if shared <= limit and (warps < 8 or rows >= LONG):
            return Plan(name, ceil_div(rows, 16 * warps), 32 * warps, shared)
    return None


def _strict(name: str, rows: int, limit: int, width: int, tiles: int, scores: bool = False) -> Plan | None:
    """A kernel without tensor cores: tiles of rows with four elements more, any of which may hold scores."""
    of_scores = STRICT_ROWS + 4
    floats = STRICT_ROWS * (tiles * max(width + 4, of_scores) + (of_scores if scores else 0))
    return Plan(name, ceil_div(rows, STRICT_ROWS), 128, 4 * floats) if 4 * floats <= limit else None
