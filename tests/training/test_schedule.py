"""The schedule: both pieces, where they meet, and its ends."""

import pytest

from vitref.training.schedule import warmup_cosine


def test_rates_of_a_short_run() -> None:
    rates = [warmup_cosine(s, steps=10, warmup=4, peak=2.0) for s in range(10)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    half_cosine = [2.0, 1.0 + 3**0.5 / 2, 1.5, 1.0, 0.5, 1.0 - 3**0.5 / 2]  # 0, 30, 60, ... 150 degrees
    assert rates[4:] == pytest.approx(half_cosine, rel=1e-14)


def test_no_warmup_begins_at_the_peak() -> None:
    assert warmup_cosine(0, steps=3, warmup=0, peak=0.7) == 0.7


@pytest.mark.parametrize("warmup", [3, 5])
def test_run_no_longer_than_the_warmup(warmup: int) -> None:
    rates = [warmup_cosine(s, steps=3, warmup=warmup, peak=1.0) for s in range(3)]
    assert rates == pytest.approx([(s + 1) / warmup for s in range(3)])


@pytest.mark.parametrize("step", [-1, 3])
def test_no_rate_outside_the_run(step: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 2"):
        warmup_cosine(step, steps=3, warmup=1, peak=1.0)
