"""Who does what of a block: everything once, by threads that wait for each other equally often."""

import pytest

pytest.importorskip("numba")

from vitref.backends.numba_kernels.shares import in_columns, largest, shares
from vitref.backends.numba_kernels.team import Team


@pytest.mark.parametrize("together", [None, 1, 3])
@pytest.mark.parametrize("tokens", [5, 300, 2000])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 13])
def test_every_image_and_column_has_one_thread(
    batch: int, threads: int, tokens: int, together: int | None
) -> None:
    plan = shares(Team(threads), batch, tokens, together)
    done = [
        (image, column)
        for mine in plan
        for share in mine
        for image in range(share.images.start, share.images.stop)
        for column in range(10)[share.columns(10)]
    ]
    assert sorted(done) == [(image, column) for image in range(batch) for column in range(10)]
    if in_columns(plan):
        assert together is None
        assert len({len(mine) for mine in plan}) == 1
    if together:
        assert max(largest(mine) for mine in plan) <= together


def test_few_images_are_divided_by_columns_and_many_are_dealt_out() -> None:
    assert in_columns(shares(Team(2), 1, 197, None))
    assert in_columns(shares(Team(2), 3, 197, None))
    assert not in_columns(shares(Team(2), 7, 197, None))
    assert not in_columns(shares(Team(2), 8, 197, None))
    assert not in_columns(shares(Team(1), 1, 197, None))


def test_rows_are_those_of_the_images() -> None:
    plan = shares(Team(2), 1, 7, None)
    assert [mine[0].rows(7) for mine in plan] == [slice(0, 7)] * 2
    assert [mine[0].own_rows(7) for mine in plan] == [slice(0, 3), slice(3, 7)]
    plan = shares(Team(2), 4, 600, None)
    assert [[share.rows(600) for share in mine] for mine in plan] == [
        [slice(0, 600), slice(600, 1200)],
        [slice(1200, 1800), slice(1800, 2400)],
    ]
