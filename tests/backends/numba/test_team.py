"""The team of threads: everybody works, waits, fails and is interrupted as said."""

import contextlib
import gc
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("numba")

from vitref.backends.numba_kernels.team import Team

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


# Interrupts and threads that do not start

interrupts = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signal.pthread_kill")


class Interrupts:
    """Ctrl-C several times once `begin` is set; `sent` is set after the last. Harmless outside of `with`."""

    def __init__(self, times: int) -> None:
        self.times, self.begin, self.sent = times, threading.Event(), threading.Event()
        self.inside, self.thread = False, threading.Thread(target=self.send, daemon=True)

    def __enter__(self) -> None:
        self.inside, self.usual = True, signal.signal(signal.SIGINT, self.interrupt)
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.inside, self.left = False, time.monotonic()
        self.begin.set()
        self.thread.join()
        signal.signal(signal.SIGINT, self.usual)

    def interrupt(self, *details: object) -> None:
        if self.inside:
            raise KeyboardInterrupt

    def send(self) -> None:
        self.begin.wait()
        for _ in range(self.times):
            time.sleep(0.05)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self.sent.set()


def assert_works(team: Team) -> None:
    """All of it, once, and without what earlier work left."""
    done = list[int]()

    def meet(i: int) -> None:
        team.barrier()
        done.append(i)

    thread = threading.Thread(target=team.run, args=(meet,), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert sorted(done) == list(range(team.threads))


@interrupts
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("caller", ["works", "waits"])
def test_after_an_interrupt_nobody_works_any_more(caller: str, times: int) -> None:
    team, ended, interrupts = Team(2), list[float](), Interrupts(times)

    def work(i: int) -> None:
        interrupts.begin.set()
        if i == 0 and caller == "waits":
            return
        interrupts.sent.wait(20)
        time.sleep(0.1)
        ended.append(time.monotonic())
        if caller == "works":
            team.barrier()

    with pytest.raises(KeyboardInterrupt), interrupts:
        team.run(work)
    assert len(ended) == 1
    assert ended[0] <= interrupts.left
    assert_works(team)


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_thread_that_cannot_start_leaves_no_work_behind(
    fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, start, started, done = Team(4), threading.Thread.start, list[int](), list[int]()

    def some_start(self: threading.Thread) -> None:
        started.append(1)
        if len(started) == fails:
            raise RuntimeError("can't start new thread")
        start(self)

    def work(i: int) -> None:
        team.barrier()
        done.append(i)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", some_start)
        with pytest.raises(RuntimeError, match="can't start"):
            team.run(work)
    assert_works(team)
    assert done == []


def test_an_error_leaves_no_reference_to_what_the_work_used() -> None:
    class Large:
        pass

    def caught() -> "weakref.ref[Large]":
        large, team = Large(), Team(2)

        def work(i: int) -> None:
            if i == 1:
                raise MemoryError(str(large))

        with contextlib.suppress(MemoryError):
            team.run(work)
        return weakref.ref(large)

    gc.collect()
    gc.disable()
    try:
        assert caught()() is None
    finally:
        gc.enable()
