"""A team of threads over single-threaded BLAS: who does which part, and barriers.

NumPy's products and the loops of `loops.py` release the interpreter's lock, so that threads of Python work
in parallel. BLAS must not have threads of its own then: see `blas.limited`, around every pass.
"""

import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from vitref.backends.numba_kernels.blas import limit_worker

Work = Callable[[int], None]


_TEAMS: "weakref.WeakSet[Team]" = weakref.WeakSet()


class Team:
    """`threads` threads, of which the caller is one; each piece of work is done by all of them at once.

    Several threads may use one team: their work is done in turn. A forked child gets threads of its own.
    Raises ValueError for less than one thread.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1")
        self.threads = threads
        self.start()
        _TEAMS.add(self)

    def start(self) -> None:
        """Begin anew, with threads that start when they are first needed."""
        self._turn = threading.Lock()
        self._barrier = threading.Barrier(self.threads)
        self._pool = self._new_pool()

    def run(self, work: Work) -> None:
        """Call `work(0)`, ..., `work(threads - 1)` at the same time, and return when all have ended.

        What one of them raises is raised here, as is an interrupt, but never before all have ended: each at
        its end, or at a barrier that the one which failed will not reach. Work must not call `run` of its
        own team.
        """
        with self._turn:
            self._barrier = threading.Barrier(self.threads)
            others, done = list[Future[None]](), False
            try:
                settings = contextvars.copy_context()  # NumPy's errstate among them
                for i in range(1, self.threads):
                    others.append(self._pool.submit(settings.copy().run, self._guarded, work, i))
                self._guarded(work, 0)
                done = True
            finally:
                _to_the_end(lambda: self._wait(others, done))
            _raise_first(others)

    def barrier(self) -> None:
        """Inside `run`: wait until every thread of the team is here."""
        if self.threads > 1:
            self._barrier.wait()

    def split(self, n: int) -> list[slice]:
        """The numbers 0 .. n - 1 in one slice for each thread: in order, their lengths at most one apart."""
        cuts = [n * i // self.threads for i in range(self.threads + 1)]
        return [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]

    def _guarded(self, work: Work, i: int) -> None:
        try:
            if i:
                limit_worker()
            work(i)
        except threading.BrokenBarrierError:
            if i == 0:
                return
            raise
        except BaseException:
            self._barrier.abort()
            raise

    def _wait(self, others: list[Future[None]], done: bool) -> None:
        """Until the others have ended; where not all could begin, what was left for them is withdrawn.

        done   whether this thread's own work is, so that nobody waits for it at a barrier
        """
        if not done:
            self._barrier.abort()
        if len(others) == self.threads - 1:
            wait(others)
        else:
            self._pool.shutdown(cancel_futures=True)
            self._pool = self._new_pool()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max(1, self.threads - 1), "vitref")


def _to_the_end(wait: Callable[[], None]) -> None:
    """Wait, and go on waiting after an interrupt, which is raised at the end."""
    try:
        wait()
    except BaseException:
        _to_the_end(wait)
        raise


def _raise_first(others: list[Future[None]]) -> None:
    """Raise what went wrong in another thread; a broken barrier only follows from that.

    No reference to the error is left: it holds the frames of the work, and with them its arrays.
    """
    errors = [future.exception() for future in others]
    causes = [e for e in errors if e is not None and not isinstance(e, threading.BrokenBarrierError)]
    others.clear()
    errors.clear()
    try:
        if causes:
            raise causes[0]
    finally:
        causes.clear()


def _after_fork() -> None:
    """The child has one thread, and locks may be held by threads that it does not have."""
    for team in list(_TEAMS):
        team.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
