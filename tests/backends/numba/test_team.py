"""The team of threads: everybody works, waits, fails and forks as said; BLAS is left as it was found."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("numba")
threadpoolctl: Any = pytest.importorskip("threadpoolctl")

from vitref.backends.numba_kernels.team import Team, libraries, limited  # noqa: E402

each_size = pytest.mark.parametrize("threads", [1, 2, 3, 5])


@each_size
def test_everybody_works_once_and_on_a_thread_of_its_own(threads: int) -> None:
    team, seen = Team(threads), list[tuple[int, int]]()

    def work(i: int) -> None:
        team.barrier()
        seen.append((i, threading.get_ident()))
        team.barrier()

    for _ in range(3):
        seen.clear()
        team.run(work)
        assert sorted(i for i, _ in seen) == list(range(threads))
        assert len({thread for _, thread in seen}) == threads
        assert dict(seen)[0] == threading.get_ident()


@each_size
def test_nobody_passes_a_barrier_before_the_last_has_come(threads: int) -> None:
    team, here = Team(threads), list[int]()

    def work(i: int) -> None:
        time.sleep(0.01 * i)
        here.append(i)
        team.barrier()
        assert len(here) == threads

    team.run(work)


@each_size
@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_a_split_is_in_order_complete_and_even(threads: int, n: int) -> None:
    parts = Team(threads).split(n)
    assert len(parts) == threads
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_what_one_raises_is_raised_and_the_team_goes_on(wrong: int) -> None:
    team = Team(3)

    def work(i: int) -> None:
        if i == wrong:
            raise KeyError(i)
        team.barrier()

    for _ in range(2):
        with pytest.raises(KeyError, match=str(wrong)):
            team.run(work)
    done = list[int]()

    def meet(i: int) -> None:
        team.barrier()
        done.append(i)

    team.run(meet)
    assert sorted(done) == [0, 1, 2]


def test_less_than_one_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        Team(0)


def test_several_threads_may_use_one_team() -> None:
    team, inside, most = Team(2), list[int](), list[int]()

    def work(i: int) -> None:
        inside.append(i)
        most.append(len(inside))
        team.barrier()
        inside.remove(i)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: team.run(work), range(40)))
    assert len(most) == 80
    assert max(most) <= 2


def exit_code(child: Any) -> int:
    """Of a forked child that does this; 1 when it raises, and an alarm's signal when it hangs."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            import signal

            signal.alarm(20)
            child()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    team, done, held = Team(2), list[int](), threading.Event()

    def work(i: int) -> None:
        team.barrier()
        done.append(i)

    def busy(i: int) -> None:
        held.set()
        time.sleep(0.2)

    def child() -> None:
        done.clear()
        team.run(work)
        assert sorted(done) == [0, 1]
        assert blas_threads() == found
        with limited():
            assert set(blas_threads()) == {1}

    team.run(work)
    found = blas_threads()
    with ThreadPoolExecutor(1) as pool, limited():
        other = pool.submit(team.run, busy)
        held.wait()
        assert exit_code(child) == 0
        other.result()
    assert blas_threads() == found


def blas_threads() -> list[int]:
    return [library.num_threads for library in libraries()]


@pytest.fixture
def two_threads() -> Any:
    """BLAS at two threads, whatever the machine has."""
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert blas_threads()
        yield blas_threads()


def test_blas_is_limited_inside_and_left_as_found(two_threads: list[int]) -> None:
    with limited():
        assert set(blas_threads()) == {1}
        with limited():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads
    with pytest.raises(KeyError), limited():
        raise KeyError
    assert blas_threads() == two_threads


def test_the_last_of_several_threads_restores_blas(two_threads: list[int]) -> None:
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with limited():
            first_in.set()
            second_in.wait()
        first_out.set()

    def second() -> None:
        first_in.wait()
        with limited():
            second_in.set()
            first_out.wait()
            assert set(blas_threads()) == {1}

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result(timeout=20)
    assert blas_threads() == two_threads
