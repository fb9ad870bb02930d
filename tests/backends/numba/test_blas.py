"""BLAS's own threads: one inside a limit, and as they were found after it, in every thread and in a fork."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("numba")
threadpoolctl: Any = pytest.importorskip("threadpoolctl")

from vitref.backends.numba_kernels import blas  # noqa: E402
from vitref.backends.numba_kernels.blas import libraries, limited  # noqa: E402
from vitref.backends.numba_kernels.team import Team  # noqa: E402


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


# Libraries with a number of threads for each thread


class Library:
    """In the place of threadpoolctl's controller: eight threads in each thread of Python, or in all."""

    def __init__(self, internal_api: str, threading_layer: str) -> None:
        self.internal_api, self.threading_layer, self.failures = internal_api, threading_layer, 0
        shared = (internal_api, threading_layer) == ("openblas", "pthreads")
        self.number: Any = type("Number", (), {})() if shared else threading.local()

    @property
    def num_threads(self) -> int:
        return getattr(self.number, "now", 8)

    def set_num_threads(self, threads: int) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no such library")
        self.number.now = threads


KINDS = [
    ("openblas", "pthreads"),
    ("openblas", "openmp"),
    ("mkl", "intel"),
    ("blis", "pthreads"),
    ("flexiblas", ""),
]


@pytest.fixture(params=KINDS, ids=" ".join)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library(*request.param)
    monkeypatch.setattr(blas, "libraries", lambda: (made,))
    return made


def test_everybody_of_a_team_has_one_thread_of_blas(library: Library) -> None:
    team, seen = Team(3), dict[int, int]()

    def work(i: int) -> None:
        seen[i] = library.num_threads
        team.barrier()

    for _ in range(2):
        with limited():
            team.run(work)
        assert seen == {0: 1, 1: 1, 2: 1}
        assert library.num_threads == 8


def test_threads_that_are_inside_at_once_are_limited_and_restored(library: Library) -> None:
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen = list[int]()

    def second() -> None:
        first_in.wait()
        with limited():
            seen.append(library.num_threads)
            second_in.set()
            first_out.wait()
            seen.append(library.num_threads)
        seen.append(library.num_threads)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        with limited():
            first_in.set()
            second_in.wait(10)
        first_out.set()
        other.result(10)
    assert seen == [1, 1, 8]
    assert library.num_threads == 8


def test_a_limit_that_fails_half_way_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        one, other = Library(*kind), Library(*kind)
        monkeypatch.setattr(blas, "libraries", lambda pair=(one, other): pair)
        other.failures = 1
        with pytest.raises(OSError, match="no such library"), limited():
            pass
        assert (one.num_threads, other.num_threads) == (8, 8)
        with limited():
            assert (one.num_threads, other.num_threads) == (1, 1)
        assert (one.num_threads, other.num_threads) == (8, 8)


def test_a_worker_that_cannot_be_limited_says_so_and_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    library, team = Library("mkl", "intel"), Team(2)
    monkeypatch.setattr(blas, "libraries", lambda: (library,))
    library.failures = 1
    seen = list[int]()

    def work(i: int) -> None:
        team.barrier()
        if i:
            seen.append(library.num_threads)

    raised = list[BaseException]()

    def run() -> None:
        try:
            team.run(work)
        except OSError as error:
            raised.append(error)

    for _ in range(2):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert len(raised) == 1
    assert seen == [1]


# Forks

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def exit_code(child: Callable[[], object]) -> int:
    """Of a forked child that does this; 1 when it raises, and an alarm's signal when it hangs."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            signal.alarm(20)
            child()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@forks
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


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_may_leave_the_limit_in_which_it_was_born(library: Library) -> None:
    limit, codes = limited(), list[int]()

    def child() -> None:
        assert library.num_threads == 8
        limit.__exit__(None, None, None)
        for _ in range(2):
            with limited():
                assert library.num_threads == 1
            assert library.num_threads == 8

    with limit:
        codes.append(exit_code(child))
        assert library.num_threads == 1
    assert codes == [0]
    assert library.num_threads == 8
