"""The list of planted bugs: enough of each kind, no name twice, answers that the diagnosis can give."""

from vitref.benchmark.diagnosis import catalogue
from vitref.benchmark.diagnosis.answers import ANSWERS, right_names
from vitref.benchmark.diagnosis.bug import LEVELS
from vitref.verify import mistakes


def test_names_are_unique() -> None:
    assert len(catalogue.BUGS) == sum(len(family.BUGS) for family in catalogue.FAMILIES)


def test_every_answer_is_a_known_mistake_and_of_a_planted_bug() -> None:
    for bug, right in ANSWERS.items():
        assert bug in catalogue.BUGS
        for name in (*right.names, *(name for names in right.alike.values() for name in names)):
            assert name in mistakes.CATALOGUE, f"{bug}: {name}"


def test_enough_of_every_kind() -> None:
    bugs = [bug for bug in catalogue.BUGS.values() if not bug.is_precision]
    covered = [bug for bug in bugs if bug.name in ANSWERS]
    assert sum(not bug.is_backward for bug in covered) >= 70
    assert sum(bug.is_backward for bug in covered) >= 20
    assert len(bugs) - len(covered) >= 12
    assert len(catalogue.BUGS) - len(bugs) >= 5
    assert len(catalogue.PAIRS) >= 10


def test_half_is_held_out() -> None:
    tuning = sum(catalogue.is_tuning(name) for name in catalogue.BUGS)
    assert 0.4 < tuning / len(catalogue.BUGS) < 0.6


def test_a_reason_stands_where_names_are_alike_or_nothing_shows() -> None:
    for bug in catalogue.BUGS.values():
        assert set(bug.hidden) <= set(LEVELS)
        assert bug.because or not bug.hidden, bug.name
    for name, right in ANSWERS.items():
        assert set(right.alike) <= set(LEVELS)
        assert right.because or not right.alike, name


def test_names_at_a_level() -> None:
    assert right_names("kernel_turned", "taps") == {"kernel_transposed"}
    assert right_names("kernel_turned", "logits") == {"kernel_transposed", "patches_transposed"}
    assert right_names("activation_clipped", "logits") == set()
