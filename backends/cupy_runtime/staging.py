"""Memory for input that is copied to the GPU while it computes on something else.

CuPy hands freed memory out again to the stream that had it. Input is filled on a stream of its own, but
read on another one, so its memory is lent here instead: it comes back when the last array on it is gone,
and is filled again when those who may have read it until then have done so.
"""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np

from vitref.array import Array

IDLE = 4
"""Blocks that wait to be lent again; older ones are freed."""

GRAIN = 512


class Loan:
    """What an array on lent memory keeps alive."""

    __slots__ = ("__weakref__",)


class Staging:
    """Lends memory of device `index`; `readers` are the streams on which it may be read."""

    def __init__(self, cupy: Any, index: int, readers: tuple[Any, ...]) -> None:
        self._cupy, self._index, self._readers = cupy, index, readers
        self._idle: deque[tuple[Any, int, list[Any]]] = deque()

    def empty(self, shape: tuple[int, ...], dtype: Any, stream: Any) -> Array:
        """An array with anything in it, for `stream`, the current one, to fill."""
        cuda = self._cupy.cuda
        size = -(-max(1, math.prod(shape) * np.dtype(dtype).itemsize) // GRAIN) * GRAIN
        memory, size = self._reused(size, stream) or (cuda.alloc(size), size)
        loan = Loan()
        weakref.finalize(loan, self._returned, memory, size).atexit = False
        lent = cuda.UnownedMemory(memory.ptr, size, loan, self._index)
        return self._cupy.ndarray(shape, dtype, memptr=cuda.MemoryPointer(lent, 0))

    def _reused(self, size: int, stream: Any) -> tuple[Any, int] | None:
        """A block that is large enough and not twice as large, once its readers are done with it."""
        for _ in range(len(self._idle)):
            try:
                memory, found, read = self._idle.popleft()
            except IndexError:
                return None
            if size <= found <= 2 * size:
                for event in read:
                    stream.wait_event(event)
                return memory, found
            self._idle.append((memory, found, read))
        self._trim()
        return None

    def _trim(self) -> None:
        while len(self._idle) > IDLE:
            for event in self._idle.popleft()[2]:
                event.synchronize()

    def _returned(self, memory: Any, size: int) -> None:
        """The last array is gone: note how far its readers have come."""
        cuda = self._cupy.cuda
        with cuda.Device(self._index):
            read = [stream.record(cuda.Event(disable_timing=True)) for stream in self._readers]
        self._idle.append((memory, size, read))
