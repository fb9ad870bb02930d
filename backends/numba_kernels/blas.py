"""BLAS's own threads: at one while a pass runs, because a team's threads need the cores.

OpenBLAS has one number of threads for the whole process. MKL, BLIS and an OpenBLAS made with OpenMP have
one for each thread of Python: they are limited in the thread that enters `limited`, and in every thread of
a team. Accelerate on macOS is not seen by threadpoolctl, and keeps its threads.
"""

import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Libraries = tuple[Any, ...]
"""threadpoolctl's controllers."""


@contextmanager
def limited() -> Iterator[None]:
    """BLAS at one thread inside, and as it was found after the last of several, nested or at once, left."""
    with _PROCESS.held(), _THREAD.limit.held():
        yield


def limit_worker() -> None:
    """In a thread of a team: libraries with a number of threads for each thread stay at one in this one."""
    if not _THREAD.limited:
        for library in of_threads():
            _set_threads(library, 1)
        _THREAD.limited = True


@functools.cache
def libraries() -> Libraries:
    """The BLAS libraries loaded in this process, looked up once."""
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    return tuple(threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


def of_process() -> Libraries:
    """Those with one number of threads for the process."""
    return tuple(library for library in libraries() if _is_shared(library))


def of_threads() -> Libraries:
    """Those with a number of threads for each thread."""
    return tuple(library for library in libraries() if not _is_shared(library))


def _is_shared(library: Any) -> bool:
    return bool(library.internal_api == "openblas" and library.threading_layer != "openmp")


def _set_threads(library: Any, threads: int) -> None:
    """threadpoolctl's own method does nothing while another thread was the first to use it: we take turns."""
    getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)


class _Limit:
    """Libraries at one thread while anybody is inside; the numbers found are put back after."""

    def __init__(self, chosen: Callable[[], Libraries]) -> None:
        self.chosen = chosen
        self.lock, self.inside, self.found = threading.Lock(), set[object](), list[tuple[Any, int]]()

    @contextmanager
    def held(self) -> Iterator[None]:
        visit = object()
        try:
            self.enter(visit)
            yield
        finally:
            self.leave(visit)

    def enter(self, visit: object) -> None:
        with self.lock:
            first = not self.inside
            self.inside.add(visit)
            if first:
                self.found = [(library, library.num_threads) for library in self.chosen()]
                for library, _ in self.found:
                    _set_threads(library, 1)

    def leave(self, visit: object) -> None:
        """Nothing happens where `forget` came between."""
        with self.lock:
            if visit in self.inside:
                self.inside.remove(visit)
                if not self.inside:
                    self.restore()

    def restore(self) -> None:
        while self.found:
            _set_threads(*self.found.pop())

    def forget(self) -> None:
        """In a forked child: nobody is inside, and the lock is free."""
        self.lock, self.inside = threading.Lock(), set()
        self.restore()


class _Thread(threading.local):
    """What each thread of Python has for itself."""

    def __init__(self) -> None:
        self.limit, self.limited = _Limit(of_threads), False


_PROCESS = _Limit(of_process)
_THREAD = _Thread()


def _after_fork() -> None:
    """The child has one thread, and a lock may be held by a thread that it does not have."""
    _PROCESS.forget()
    _THREAD.limit.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
