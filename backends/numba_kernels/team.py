"""A team of threads over single-threaded BLAS: who does which part, barriers, and BLAS's own threads.

NumPy's products and the loops of `loops.py` release the interpreter's lock, so that threads of Python work
in parallel; BLAS threads beside them would fight for the same cores, and are kept at one by `limited`.
"""

import contextvars
import functools
import importlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

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
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), "vitref", initializer=_begin)

    def run(self, work: Work) -> None:
        """Call `work(0)`, ..., `work(threads - 1)` at the same time, and return when all have returned.

        What one of them raises is raised here, after the others have ended or met a broken barrier. Work
        must not call `run` of its own team.
        """
        with self._turn:
            settings = contextvars.copy_context()  # NumPy's errstate among them
            others = [
                self._pool.submit(settings.copy().run, self._guarded, work, i) for i in range(1, self.threads)
            ]
            try:
                self._guarded(work, 0)
            finally:
                wait(others)
                if self._barrier.broken:
                    self._barrier = threading.Barrier(self.threads)
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
            work(i)
        except threading.BrokenBarrierError:
            if i == 0:
                return
            raise
        except BaseException:
            self._barrier.abort()
            raise


def _raise_first(others: list[Future[None]]) -> None:
    """Raise what went wrong in another thread; a broken barrier only follows from that."""
    for future in others:
        error = future.exception()
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error


class _Limit:
    """BLAS of this process at one thread while anybody is inside; the number found is put back after."""

    def __init__(self) -> None:
        self.lock, self.inside, self.found = threading.Lock(), 0, list[int]()

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.found = [library.num_threads for library in libraries()]
                for library in libraries():
                    _set_threads(library, 1)
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore()

    def restore(self) -> None:
        for library, threads in zip(libraries(), self.found, strict=True):
            _set_threads(library, threads)

    def forget(self) -> None:
        """In a forked child: nobody is inside, and the lock is free."""
        inside, self.lock = self.inside, threading.Lock()
        self.inside = 0
        if inside:
            self.restore()


_LIMIT = _Limit()


def _after_fork() -> None:
    """The child has one thread, and locks may be held by threads that it does not have."""
    _LIMIT.forget()
    for team in list(_TEAMS):
        team.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def libraries() -> tuple[Any, ...]:
    """threadpoolctl's controllers of the BLAS libraries loaded in this process, looked up once."""
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    return tuple(threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(library: Any, threads: int) -> None:
    """threadpoolctl's own method does nothing while another thread was the first to use it: we take turns."""
    getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)


def _begin() -> None:
    """A thread of a team begins: OpenMP keeps its number of threads for each thread by itself."""
    for library in libraries():
        if library.info().get("threading_layer") == "openmp":
            _set_threads(library, 1)


@contextmanager
def limited() -> Iterator[None]:
    """BLAS at one thread inside, and as it was found after the last of several, nested or at once, left."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()
