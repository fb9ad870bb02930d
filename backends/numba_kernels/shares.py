"""Who does what of a block: every thread its own images, or, of few images, every thread its own columns.

Either way each number is one sum that one thread makes, but BLAS may add it up in another order at another
place of a product or beside more rows: seen in float64 and in small models, not in float32 products of
published widths on AVX-512. With one image in each product, no number depends on the batch or on how many
threads there are; it takes more time, and a batch smaller than the team then leaves threads idle. Sums over
the batch, the gradients of parameters, depend on both.
"""

from typing import NamedTuple

from vitref.backends.numba_kernels.team import Team

ROWS = 1024
"""Rows of one product: enough to hide the time that BLAS needs to bring a weight into its own order."""

UNEVEN = 1.15
"""Images are dealt out as long as the busiest thread has no more than this many times its part of them."""


class Share(NamedTuple):
    """images    first image, and one past the last
    part      of the columns: this of `parts` equal parts
    """

    images: slice
    part: int
    parts: int

    def columns(self, n: int) -> slice:
        """Of n columns."""
        return slice(n * self.part // self.parts, n * (self.part + 1) // self.parts)

    def rows(self, tokens: int) -> slice:
        """Of (images * tokens) rows, all rows of the images."""
        return slice(self.images.start * tokens, self.images.stop * tokens)

    def own_rows(self, tokens: int) -> slice:
        """Of those rows, this thread's part."""
        rows = self.rows(tokens)
        own = self.columns(rows.stop - rows.start)
        return slice(rows.start + own.start, rows.start + own.stop)


Plan = list[list[Share]]
"""For each thread its shares, in order; threads that share images have lists of equal length."""


def shares(team: Team, batch: int, tokens: int, together: int | None) -> Plan:
    """Who does what.

    together   images in one product, each group by one thread; None for about `ROWS` rows
    """
    size = together or max(1, ROWS // tokens)
    busiest = -(-batch // team.threads)
    if together or busiest * team.threads <= UNEVEN * batch:
        return [[Share(group, 0, 1) for group in groups(images, size)] for images in team.split(batch)]
    everything = groups(slice(0, batch), size)
    return [[Share(group, i, team.threads) for group in everything] for i in range(team.threads)]


def in_columns(plan: Plan) -> bool:
    """Whether the threads share their images."""
    return any(share.parts > 1 for mine in plan for share in mine)


def largest(mine: list[Share]) -> int:
    """The most images of one of these shares."""
    return max((share.images.stop - share.images.start for share in mine), default=0)


def groups(images: slice, size: int) -> list[slice]:
    """Consecutive groups of at most `size`, as equal as they can be."""
    n = images.stop - images.start
    count = -(-n // size)
    cuts = [images.start + n * i // count for i in range(count + 1)] if count else []
    return [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]


def synchronise(team: Team, share: Share) -> None:
    """Wait for the threads that work on the same images."""
    if share.parts > 1:
        team.barrier()
