"""Planted between patches and tokens: their order, the class token, and the positions."""

import math
from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch
from vitref.config import Config

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

UNFOLD, CLASS, POSITIONS = "patch_embed.unfold", "cls_token", "pos_embed"


def reordered(order: Any) -> Any:
    """Patches in the order that `order` makes of the grid (rows, columns) of their numbers."""

    def unfold(m: "Pass", at: str, image: Any) -> Any:
        patches = pieces.unfold(m, at, image)
        return patches[:, order(torch.arange(patches.shape[1]).reshape(m.config.grid)).reshape(-1)]

    return unfold


def serpentine(grid: Any) -> Any:
    grid = grid.clone()
    grid[1::2] = grid[1::2].flip(1)
    return grid


def in_pairs(grid: Any) -> Any:
    """Two rows at a time, column after column."""
    even = grid[: len(grid) // 2 * 2].reshape(-1, 2, grid.shape[1]).mT.reshape(-1)
    return torch.cat([even, grid[len(grid) // 2 * 2 :].reshape(-1)])


def inside(order: tuple[int, ...]) -> Any:
    """Patches whose numbers (C, h, w) are given out in another order of these axes."""

    def unfold(m: "Pass", at: str, image: Any) -> Any:
        patches = pieces.unfold(m, at, image)
        parts = patches.unflatten(-1, (m.config.channels, *m.config.patch_size))
        return parts.permute(0, 1, *(2 + axis for axis in order)).flatten(2)

    return unfold


def without_channel(m: "Pass", at: str, patches: Any) -> Any:
    y = pieces.project(m, at, patches)
    return torch.cat([y[..., :6], torch.zeros_like(y[..., 6:7]), y[..., 7:]], -1)


def token_last(m: "Pass", at: str, x: Any) -> Any:
    return torch.cat([x, m.weights[at].expand(len(x), 1, -1)], dim=1)


def last_token(m: "Pass", at: str, tokens: Any) -> Any:
    return tokens[:, -1]


def table(function: Any) -> Any:
    """Positions from `function(table, config)`."""

    def positions(m: "Pass", at: str, x: Any) -> Any:
        return x + function(m.piece("resize", at, m.weights[at]), m.config)

    return positions


def turned(t: Any, config: Config) -> Any:
    """The table read column after column."""
    patches = t[:, 1:].unflatten(1, config.grid).transpose(1, 2).flatten(1, 2)
    return torch.cat([t[:, :1], patches], 1)


def tokens_swapped(m: "Pass", at: str, x: Any) -> Any:
    y = pieces.positions(m, at, x)
    order = torch.arange(y.shape[1])
    order[[3, 4]] = order[[4, 3]]
    return y[:, order]


def resize(mode: str, **options: Any) -> Any:
    """A position table resized in this way by torch."""

    def function(m: "Pass", at: str, t: Any) -> Any:
        size = None if "scale_factor" in options else m.config.grid
        return pieces.resized(
            t,
            m.config.position_prefix,
            m.config.position_grid,
            lambda x: torch.nn.functional.interpolate(x, size, mode=mode, **options),
        )

    return function


def by_factor(m: "Pass", at: str, t: Any) -> Any:
    """torch is told (new + 0.1) / old and uses it as it is."""
    factors = tuple((n + 0.1) / o for n, o in zip(m.config.grid, m.config.position_grid, strict=True))
    return resize("bicubic", scale_factor=factors)(m, at, t)


def first_rows(m: "Pass", at: str, t: Any) -> Any:
    return t[:, : m.config.tokens]


def turned_grid(m: "Pass", at: str, t: Any) -> Any:
    """The stored table read with rows and columns exchanged, then resized."""
    rows, columns = m.config.position_grid
    return pieces.resized(
        t,
        m.config.position_prefix,
        (columns, rows),
        lambda x: pieces.interpolate(x, m.config.grid, m.config.position_resize),
    )


def as_stored(m: "Pass", at: str, t: Any) -> Any:
    return t


def bug(name: str, what: str, first: str, piece: str, wrong: Any, **rest: Any) -> Bug:
    changes = (Change(piece, wrong), *rest.pop("also", ()))
    return Bug(name=name, what=what, first=first, changes=changes, **rest)


def square(config: Config) -> bool:
    return config.patch_size[0] == config.patch_size[1]


def resizes(config: Config) -> bool:
    return config.grid != config.position_grid


WITH_CLASS = {"needs": lambda c: c.class_token and c.class_position and c.pool == "token"}
RESIZED: dict[str, Any] = {"first": POSITIONS, "piece": "resize"}

BUGS = (
    bug(
        "patches_column_after_column",
        "counts patches column after column",
        UNFOLD,
        "unfold",
        reordered(lambda g: g.mT),
    ),
    bug(
        "patches_serpentine",
        "counts every other row of patches from right to left",
        UNFOLD,
        "unfold",
        reordered(serpentine),
    ),
    bug(
        "patches_in_pairs_of_rows",
        "counts patches two rows at a time, column after column",
        UNFOLD,
        "unfold",
        reordered(in_pairs),
    ),
    bug(
        "patches_from_the_end",
        "counts patches from the last to the first",
        UNFOLD,
        "unfold",
        reordered(lambda g: g.flip(0, 1)),
    ),
    bug("pixels_before_channels", "flattens patches as (h, w, channel)", UNFOLD, "unfold", inside((1, 2, 0))),
    bug(
        "patches_turned",
        "flattens each patch column after column",
        UNFOLD,
        "unfold",
        inside((0, 2, 1)),
        needs=square,
    ),
    bug(
        "channel_7_dropped",
        "loses the seventh channel of every patch",
        "patch_embed.proj",
        "project",
        without_channel,
    ),
    bug(
        "class_token_behind",
        "puts the class token behind the patches, and reads the first token",
        CLASS,
        "class_token",
        token_last,
        **WITH_CLASS,
    ),
    bug(
        "class_token_behind_and_read",
        "puts the class token behind the patches, and reads it there",
        CLASS,
        "class_token",
        token_last,
        also=(Change("pool", last_token),),
        **WITH_CLASS,
    ),
    bug(
        "class_token_halved",
        "halves the class token",
        CLASS,
        "class_token",
        lambda m, at, x: torch.cat([0.5 * m.weights[at].expand(len(x), 1, -1), x], 1),
    ),
    bug(
        "positions_from_row_0",
        "gives patch i the position of row i, that of the class token first",
        POSITIONS,
        "positions",
        table(lambda t, c: t.roll(1, 1)),
        needs=lambda c: c.position_prefix == 1,
    ),
    bug(
        "class_token_unplaced",
        "adds no position to the class token",
        POSITIONS,
        "positions",
        table(lambda t, c: torch.cat([0 * t[:, :1], t[:, 1:]], 1)),
        needs=lambda c: c.position_prefix == 1,
    ),
    bug(
        "class_token_placed_twice",
        "adds the class token's position twice, as folded weights do",
        POSITIONS,
        "positions",
        table(lambda t, c: torch.cat([2 * t[:, :1], t[:, 1:]], 1)),
        needs=lambda c: c.position_prefix == 1,
    ),
    bug(
        "positions_column_after_column",
        "reads the position table column after column",
        POSITIONS,
        "positions",
        table(turned),
        needs=lambda c: c.position_prefix == 1 and (not resizes(c)),
    ),
    bug("positions_twice", "adds the positions twice", POSITIONS, "positions", table(lambda t, c: 2 * t)),
    bug(
        "positions_as_factors",
        "multiplies by one plus the positions",
        POSITIONS,
        "positions",
        lambda m, at, x: x * (1 + m.weights[at]),
    ),
    bug(
        "tokens_swapped",
        "exchanges tokens 3 and 4",
        POSITIONS,
        "positions",
        tokens_swapped,
        hidden=("logits",),
        because="both tokens are patches that only attention reads, which does not ask for order",
    ),
    bug(
        "table_bilinear",
        "resizes positions bilinearly",
        POSITIONS,
        "resize",
        resize("bilinear"),
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_nearest",
        "resizes positions by the nearest row",
        POSITIONS,
        "resize",
        resize("nearest"),
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_aligned",
        "resizes positions with the corners of both grids on each other",
        POSITIONS,
        "resize",
        resize("bilinear", align_corners=True),
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_cubic_aligned",
        "resizes positions bicubically with the corners of both grids on each other",
        POSITIONS,
        "resize",
        resize("bicubic", align_corners=True),
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_antialiased",
        "resizes positions with torch's antialiased bicubic filter, whose coefficient is -0.5",
        POSITIONS,
        "resize",
        resize("bicubic", antialias=True),
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_not_antialiased",
        "resizes positions to a smaller grid without antialias",
        POSITIONS,
        "resize",
        resize("bilinear"),
        model="shrunk",
        needs=lambda c: resizes(c) and "antialias" in c.position_resize,
    ),
    bug(
        "table_by_factor",
        "tells the resize a factor, the size and a tenth over the old size",
        POSITIONS,
        "resize",
        by_factor,
        model="resized",
        needs=resizes,
    ),
    bug(
        "table_cut",
        "takes the first rows of a larger table",
        POSITIONS,
        "resize",
        first_rows,
        model="shrunk",
        needs=lambda c: resizes(c) and math.prod(c.position_grid) > math.prod(c.grid),
    ),
    bug(
        "table_as_it_is",
        "adds the table as stored because the number of patches is the same",
        POSITIONS,
        "resize",
        as_stored,
        model="turned",
        needs=lambda c: resizes(c) and math.prod(c.position_grid) == math.prod(c.grid),
    ),
    bug(
        "table_turned",
        "resizes a table whose rows and columns it exchanges",
        POSITIONS,
        "resize",
        turned_grid,
        model="turned",
        needs=resizes,
    ),
)
